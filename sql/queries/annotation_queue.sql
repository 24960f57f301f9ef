-- What a reader should look at next: of the newest `newest` answers of the model that serves a task, and of the films whose
-- label their neighbours contradict, those that the reader has not seen and that want another reader. Worth = 2 (header
-- names another region) + 2 (share of shadows that say another label) + 2 (share of the neighbours that speak against the
-- label) + uncertainty 0..1 + rarity 0..1. What the reader put off comes last. Never an image of whom nobody may use, one
-- without a picture, nor one that others have before them and that wants no more readers.
-- Parameters: task, reader, newest, double_share, most.
with doubt as (
    select d.sop_instance_uid, d.suggested, d.origin, d.share_suggested - d.share_said as margin
      from label_doubt d
     where %(task)s = 'body_part'
       and not exists (select from annotation a where a.sop_instance_uid = d.sop_instance_uid and a.task = 'body_part'
                          and a.decided_at > d.found_at)
),
answers as (
    select p.sop_instance_uid, p.model_id, p.task, p.label, p.score, p.detail
      from model_serving s
     cross join lateral (select * from (select * from prediction p where p.model_id = s.model_id and p.task = s.task
                                         order by p.predicted_at desc limit %(newest)s) n
                          union
                         select p.* from doubt d join prediction p using (sop_instance_uid)
                          where p.model_id = s.model_id and p.task = s.task) p
     where s.task = %(task)s
),
classes as (select label, count(*)::real as films, max(count(*)) over ()::real as most from answers group by label),
read as (
    select sop_instance_uid, count(*) as readers, bool_or(reader = %(reader)s) as mine
      from annotation_now where task = %(task)s group by sop_instance_uid
),
held as (
    select sop_instance_uid, count(*) as readers
      from annotation_lease l
     where task = %(task)s and reader <> %(reader)s and until > now()
       and not exists (select from annotation_now n where n.task = l.task and n.sop_instance_uid = l.sop_instance_uid
                          and n.reader = l.reader)
     group by sop_instance_uid
),
scored as (
    select a.sop_instance_uid, a.model_id, a.label, a.score, a.detail, h.region_key as header_region,
           coalesce(r.readers, 0) as readers, coalesce(l.readers, 0) as held,
           -- a stated share, the same films for everybody, is read by two; what is doubted by one more than said it
           greatest(case when ('x' || left(md5(a.sop_instance_uid || a.task), 8))::bit(32)::bigint / 4294967296.0
                              < %(double_share)s then 2 else 1 end,
                    case d.origin when 'single' then 2 when 'agreed' then 3 else 1 end) as wanted,
           (a.task = 'body_part' and h.region_key is not null and a.detail ->> 'examined' is not null
                and h.region_key <> a.detail ->> 'examined'
                and not coalesce(a.detail -> 'visible' ? h.region_key, false))::integer::real as header_differs,
           coalesce(x.differs, 0)::real as shadow_differs,
           d.suggested as neighbours_say, coalesce(d.margin, 0)::real as neighbours_differ,
           coalesce(e.entropy, 1 - abs(2 * a.score - 1))::real as uncertainty,
           (1 - c.films / c.most)::real as rarity,
           s.skipped_at
      from answers a
      join classes c using (label)
      join instance i using (sop_instance_uid)
      join canonical_image k on k.sop_instance_uid = a.sop_instance_uid and k.shard_id is not null
      left join header_anatomy h using (series_instance_uid)
      left join read r on r.sop_instance_uid = a.sop_instance_uid
      left join held l on l.sop_instance_uid = a.sop_instance_uid
      left join doubt d on d.sop_instance_uid = a.sop_instance_uid
      left join annotation_skip s on s.task = a.task and s.sop_instance_uid = a.sop_instance_uid
           and s.reader = %(reader)s
      left join lateral (select avg((p.label <> a.label)::integer) as differs
                           from prediction p join model m on m.model_id = p.model_id and m.stage = 'shadow'
                          where p.sop_instance_uid = a.sop_instance_uid and p.task = a.task) x on true
      left join lateral (select case when count(*) > 1 then
                                    -sum(case when value::real > 0 then value::real * ln(value::real) else 0 end)
                                    / ln(count(*)) end as entropy
                           from jsonb_each_text(case jsonb_typeof(a.detail -> 'probabilities' -> 'router5')
                                    when 'object' then a.detail -> 'probabilities' -> 'router5' else '{}' end)) e on true
     where not coalesce(r.mine, false)
       and a.sop_instance_uid not in (select o.sop_instance_uid from opted_out_instance o where o.projects is null)
       and not exists (select from adjudication d where d.task = a.task and d.sop_instance_uid = a.sop_instance_uid)
)
select sop_instance_uid, model_id, label, score, detail ->> 'examined' as examined,
       case when jsonb_typeof(detail -> 'visible') = 'array'
            then array(select jsonb_array_elements_text(detail -> 'visible')) else '{}' end as visible,
       case when jsonb_typeof(detail -> 'boxes') = 'array' then detail -> 'boxes' else '[]' end as boxes,
       header_region, readers, wanted, header_differs, shadow_differs, neighbours_say, neighbours_differ, uncertainty,
       rarity, 2 * header_differs + 2 * shadow_differs + 2 * neighbours_differ + uncertainty + rarity as worth,
       skipped_at is not null as put_off
  from scored
 where readers + held < wanted
 order by skipped_at nulls first, worth desc, md5(sop_instance_uid)
 limit %(most)s
