-- Every DICOM object of a version with what is said of it: by its header, by the newest production model of each task, by
-- both. Parameter: release_id.
select o.path, o.object_key as key, o.columns,
       r.router5, r.router5_score, r.model_id as body_part_model, a.examined_region, a.visible_regions,
       a.header_region, a.header_code, a.fused_region, a.fused_probability,
       i.label as ivc_filter, i.score as ivc_filter_score, i.model_id as ivc_filter_model
  from objects_of_release(%(release_id)s) o
  left join body_part_reading r using (sop_instance_uid)
  left join body_part_answer a using (sop_instance_uid)
  left join lateral (select p.label, p.score, p.model_id
                       from prediction_in_use p
                      where p.sop_instance_uid = o.sop_instance_uid and p.task = 'ivc_filter') i on true
 where o.kind = 'dicom'
 order by o.path collate "C"
