-- Images of a patient that show a filter by the model or a person, the newest first. Parameter: patient.
select s.sop_instance_uid, s.study_instance_uid, s.seen_on, s.model_id, s.score, s.boxes, s.said, s.said_by, s.said_at,
       s.note, c.shard_id is not null as has_image
  from ivc_filter_sighting s
  left join canonical_image c using (sop_instance_uid)
 where s.patient = %(patient)s
 order by s.seen_on desc nulls last, s.sop_instance_uid
