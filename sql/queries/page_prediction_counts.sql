-- How often each answer was given that counts, for each model task. Parameter: window_key.
select task, label, count(*) as instances, count(distinct model_id) as models, min(model_id) as model_id
  from prediction_in_use
  join window_member m using (sop_instance_uid)
 where m.window_key = %(window_key)s
 group by task, label
 order by task, count(*) desc, label
