-- Films at positions of a model's matrix, with what is said of them; never of whom nobody may use.
-- Parameters: model_id, positions, sop_instance_uid: the film whose neighbours they are.
select e.position, e.sop_instance_uid, i.study_instance_uid = f.study_instance_uid as same_study,
       s.patient_id is not distinct from g.patient_id as same_patient,
       h.region_key as header_region, p.label, p.detail ->> 'examined' as examined,
       v.standing, v.label as said_label, v.examined as said_examined,
       exists (select from canonical_image k
                where k.sop_instance_uid = e.sop_instance_uid and k.shard_id is not null) as has_picture
  from embedding e
  join instance i using (sop_instance_uid)
  join study s using (study_instance_uid)
  left join instance f on f.sop_instance_uid = %(sop_instance_uid)s
  left join study g on g.study_instance_uid = f.study_instance_uid
  left join header_anatomy h on h.series_instance_uid = i.series_instance_uid
  left join prediction p on p.sop_instance_uid = e.sop_instance_uid and p.model_id = e.model_id
  left join annotation_verdict v on v.task = 'body_part' and v.sop_instance_uid = e.sop_instance_uid
       and v.standing <> 'differing'
 where e.model_id = %(model_id)s and e.position = any(%(positions)s)
   and e.sop_instance_uid not in (select o.sop_instance_uid from opted_out_instance o where o.projects is null)
