-- What the newest model of each task says about each instance of a window. Parameter: window_key.
select distinct on (task, sop_instance_uid) task, sop_instance_uid, label, score
  from prediction
  join window_member using (sop_instance_uid)
 where window_key = %(window_key)s
 order by task, sop_instance_uid, predicted_at desc
