-- One text of the pile: its undecided series, their studies, scanners, what stands beside it in four headers, and pictures
-- where there are some; of the first 2,000 series. Parameters: kind, key, source_tag.
with holding as (
    select e.evidence, e.modality, e.manufacturer, e.tags, e.said
      from anatomy_evidence e
     where e.keys @> array[%(key)s::text]
       and exists (select from unnest(e.tags, e.keys) as w(tag, key) where w.tag = %(source_tag)s and w.key = %(key)s)
),
undecided_series as (
    select a.series_instance_uid, s.study_instance_uid, s.station_name, h.manufacturer
      from holding h
      join header_anatomy a using (evidence)
      join series s using (series_instance_uid)
     where exists (select from undecided(a, h.modality) as k(kind) where k.kind = %(kind)s)
     limit 2000
)
select count(*) as series, count(distinct study_instance_uid) as studies, count(*) = 2000 as more,
       array(select distinct manufacturer from undecided_series where manufacturer <> '' order by 1 limit 12) as manufacturers,
       array(select distinct station_name from undecided_series where station_name <> '' order by 1 limit 40) as stations,
       (select jsonb_agg(jsonb_build_object('tags', tags, 'said', said))
          from (select tags, said from holding order by evidence limit 4) h) as headers,
       array(select i.sop_instance_uid
               from (select series_instance_uid from undecided_series order by series_instance_uid limit 200) u
               join instance i using (series_instance_uid)
               join canonical_image c using (sop_instance_uid)
              where c.shard_id is not null
              limit 6) as pictures
  from undecided_series
