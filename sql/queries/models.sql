-- Every model with its newest measures, on the films that ship and on those of this site, and how far it agrees with the model that serves, on the newest
-- 50,000 images that a shadow read.
-- Parameter: task, null for all.
select m.model_id, m.task, m.architecture, m.stage, m.weights_sha256, m.data_snapshot, m.code_revision,
       m.registered_at, m.registered_by, coalesce(m.production_since, m.registered_at) as production_since,
       m.model_id = s.model_id as serves,
       e.evaluation_set, e.set_name, e.films, e.patients, e.metrics, e.evaluated_at,
       h.films as site_films, h.patients as site_patients, h.metrics as site_metrics, h.evaluated_at as site_evaluated_at,
       b.both_read, b.agree
  from model m
  left join model_serving s on s.task = m.task
  left join lateral (select * from model_evaluation v where v.model_id = m.model_id and v.films_of = 'shipped'
                      order by v.evaluation_id desc limit 1) e on true
  left join lateral (select * from model_evaluation v where v.model_id = m.model_id and v.films_of = 'site'
                      order by v.evaluation_id desc limit 1) h on true
  left join lateral (select count(*) as both_read, count(*) filter (where mine.label = theirs.label) as agree
                       from (select sop_instance_uid, label from prediction p
                              where p.model_id = m.model_id and m.stage = 'shadow'
                              order by p.predicted_at desc limit 50000) mine
                       join prediction theirs on theirs.sop_instance_uid = mine.sop_instance_uid
                                             and theirs.model_id = s.model_id) b on true
 where %(task)s::text is null or m.task = %(task)s
 order by m.task, (m.model_id = s.model_id) desc nulls last,
          array_position(array['production', 'shadow', 'candidate'], m.stage), m.registered_at desc, m.model_id
