-- Studies of a window of which a model in production read something. Parameter: window_key.
select distinct i.study_instance_uid
  from window_member m
  join instance i using (sop_instance_uid)
 where m.window_key = %(window_key)s
   and exists (select from prediction p where p.sop_instance_uid = i.sop_instance_uid)
 order by i.study_instance_uid
