-- Models whose answers the tables of a version may show. Parameter: release_id.
select m.model_id, m.task, m.weights_sha256
  from model m
 where m.model_id in (select p.model_id
                        from objects_of_release(%(release_id)s) o join prediction p using (sop_instance_uid)
                       where o.kind = 'dicom')
 order by m.model_id
