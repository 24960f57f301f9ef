-- What headers say of films, and how far they are believed. Of the newest learning of a model in production.
-- Parameter: uids.
with newest as (
    select f.fusion_id
      from fusion f
      join model m on m.model_id = f.model_id and m.stage = 'production' and m.task = 'body_part'
     order by f.fusion_id desc
     limit 1
)
select i.sop_instance_uid, a.region_key, a.sct_code, a.source_tag, a.confidence, s.station_name,
       r.fusion_id, r.films, r.reliability
  from instance i
  join series s on s.series_instance_uid = i.series_instance_uid
  join header_anatomy a on a.series_instance_uid = i.series_instance_uid
  join header_reliability r on r.fusion_id = (select fusion_id from newest)
                           and r.source_tag = a.source_tag and not r.doubtful and r.station_name = s.station_name
 where i.sop_instance_uid = any(%(uids)s) and s.station_name <> ''
