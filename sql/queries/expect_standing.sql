-- What other windows expect of the studies in the table `standing` is expected in this one, too, as far as the PACS lists
-- it still.
insert into expectation (window_key, sop_instance_uid, series_instance_uid, study_instance_uid, sop_class_uid, modality,
                         pacs, leaf_id)
select distinct on (e.sop_instance_uid) %(window_key)s, e.sop_instance_uid, e.series_instance_uid, e.study_instance_uid,
       e.sop_class_uid, e.modality, e.pacs, e.leaf_id
  from standing s
  join expectation e using (study_instance_uid)
 where e.window_key <> %(window_key)s
   and not exists (select from instance_absent a
                    where a.window_key = e.window_key and a.sop_instance_uid = e.sop_instance_uid)
 order by e.sop_instance_uid, e.expected_at desc
    on conflict do nothing
