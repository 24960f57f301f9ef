-- The model of a task that reads, then its shadows. Parameter: task.
select model_id, architecture, stage, weights_sha256
  from model m
 where task = %(task)s
   and (stage = 'shadow' or model_id = (select s.model_id from model_serving s where s.task = m.task))
 order by stage = 'production' desc, registered_at, model_id
