-- What a reader should look at next: of the newest `newest` answers of the model that serves a task, those that the reader
-- has not seen and that want another reader. Worth = 2 (header names another region) + 2 (share of shadows that say
-- another label) + uncertainty 0..1 + rarity 0..1. Never an image of whom nobody may use, nor one without a picture.
-- Parameters: task, reader, newest, double_share, most.
with answers as (
    select p.sop_instance_uid, p.model_id, p.task, p.label, p.score, p.detail
      from model_serving s
     cross join lateral (select * from prediction p where p.model_id = s.model_id and p.task = s.task
                          order by p.predicted_at desc limit %(newest)s) p
     where s.task = %(task)s
),
classes as (select label, count(*)::real as films, max(count(*)) over ()::real as most from answers group by label),
read as (
    select sop_instance_uid, count(*) as readers, bool_or(reader = %(reader)s) as mine
      from annotation_now where task = %(task)s group by sop_instance_uid
),
scored as (
    select a.sop_instance_uid, a.model_id, a.label, a.score, a.detail, h.region_key as header_region,
           coalesce(r.readers, 0) as readers,
           -- a stated share, the same films for everybody, is read by two
           case when ('x' || left(md5(a.sop_instance_uid || a.task), 8))::bit(32)::bigint / 4294967296.0
                   < %(double_share)s then 2 else 1 end as wanted,
           (a.task = 'body_part' and h.region_key is not null and a.detail ->> 'examined' is not null
                and h.region_key <> a.detail ->> 'examined'
                and not coalesce(a.detail -> 'visible' ? h.region_key, false))::integer::real as header_differs,
           coalesce(x.differs, 0)::real as shadow_differs,
           coalesce(e.entropy, 1 - abs(2 * a.score - 1))::real as uncertainty,
           (1 - c.films / c.most)::real as rarity
      from answers a
      join classes c using (label)
      join instance i using (sop_instance_uid)
      join canonical_image k on k.sop_instance_uid = a.sop_instance_uid and k.shard_id is not null
      left join header_anatomy h using (series_instance_uid)
      left join read r on r.sop_instance_uid = a.sop_instance_uid
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
       header_region, readers, wanted, header_differs, shadow_differs, uncertainty, rarity,
       2 * header_differs + 2 * shadow_differs + uncertainty + rarity as worth
  from scored
 where readers < wanted
 order by worth desc, md5(sop_instance_uid)
 limit %(most)s
