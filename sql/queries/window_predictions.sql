-- What the model in production says about each instance of a window, for each task. Parameter: window_key.
select task, sop_instance_uid, label, score
  from prediction_in_use
  join window_member using (sop_instance_uid)
 where window_key = %(window_key)s
 order by task, sop_instance_uid
