-- What other windows expect of a list's studies is expected in its cohort's window, too, as far as the PACS lists it still.
insert into expectation (window_key, sop_instance_uid, series_instance_uid, study_instance_uid, sop_class_uid, modality,
                         pacs, leaf_id)
select distinct on (e.sop_instance_uid) %(window_key)s, e.sop_instance_uid, e.series_instance_uid, e.study_instance_uid,
       e.sop_class_uid, e.modality, e.pacs, e.leaf_id
  from (select distinct study_instance_uid from cohort_list_study where list_id = %(list_id)s) s
  join expectation e using (study_instance_uid)
 where e.window_key <> %(window_key)s
   and not exists (select from instance_absent a
                    where a.window_key = e.window_key and a.sop_instance_uid = e.sop_instance_uid)
 order by e.sop_instance_uid, e.expected_at desc
    on conflict do nothing
