-- Studies of a window with expected instances that are listed there still and have not been received. Parameter: window_key.
select distinct e.study_instance_uid
  from expectation e
 where e.window_key = %(window_key)s
   and not exists (select from receipt r where r.sop_instance_uid = e.sop_instance_uid)
   and not exists (select from instance_absent a
                    where a.window_key = e.window_key and a.sop_instance_uid = e.sop_instance_uid)
 order by e.study_instance_uid
