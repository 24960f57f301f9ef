-- Every answer of every model about the DICOM objects of a version. Parameter: release_id.
select o.object_key as key, o.columns ->> 'patient' as patient, o.columns ->> 'sop_instance_uid' as sop_instance_uid,
       p.task, p.model_id, m.stage, p.label, p.score, p.detail
  from objects_of_release(%(release_id)s) o
  join prediction p using (sop_instance_uid)
  join model m using (model_id)
 where o.kind = 'dicom'
 order by o.path collate "C", p.task, p.model_id
