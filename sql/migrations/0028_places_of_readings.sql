-- A reading knows its place in a block, so that filters by body part need not look its instance up.
create or replace view body_part_reading as
    select p.sop_instance_uid, p.model_id, p.label as router5, p.score as router5_score,
           p.detail ->> 'examined' as examined,
           p.detail -> 'visible'   as visible,       -- JSON array
           p.detail, p.predicted_at, p.block_id, p.block_position
      from prediction p
      join model m on m.model_id = p.model_id and m.stage = 'production'
     where p.task = 'body_part'
       and not exists (select
                         from prediction newer
                         join model n on n.model_id = newer.model_id and n.stage = 'production'
                        where newer.sop_instance_uid = p.sop_instance_uid and newer.task = 'body_part'
                          and (n.registered_at, n.model_id) > (m.registered_at, m.model_id));
