-- What is said of the body part of some instances, with their patient. Parameter: uids.
select b.sop_instance_uid, b.header_region, b.header_code, b.examined_region, b.visible_regions, b.fused_region,
       b.model_id, coalesce(nullif(i.patient_id, ''), b.study_instance_uid) as patient
  from body_part_answer b
  join instance i on i.sop_instance_uid = b.sop_instance_uid
 where b.sop_instance_uid = any(%(uids)s)
 order by b.sop_instance_uid
