-- How often each answer was given, the newest answer of each model task. Parameter: window_key.
select task, label, count(*) as instances, count(distinct model_id) as models, min(model_id) as model_id
  from (select distinct on (p.task, p.sop_instance_uid) p.task, p.label, p.model_id
          from prediction p
          join window_member m using (sop_instance_uid)
         where m.window_key = %(window_key)s
         order by p.task, p.sop_instance_uid, p.predicted_at desc, p.model_id) newest
 group by task, label
 order by task, count(*) desc, label
