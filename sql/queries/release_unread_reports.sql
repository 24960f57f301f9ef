-- Reports of a version that nobody read as they stand in the bucket, by path. Parameters: release_id, classes (SOP
-- classes that are reports), reader; first and last (receipt ids of a part of its own members; null: all of it).
select o.object_key, o.sha256
  from objects_of_release(%(release_id)s) o
  left join report_reading g on g.object_key = o.object_key and g.sha256 = o.sha256 and g.reader = %(reader)s
 where o.kind = 'dicom' and o.columns ->> 'sop_class_uid' = any(%(classes)s) and g.object_key is null
   and (%(first)s::bigint is null
        or exists (select from receipt r join release_member m using (sop_instance_uid)
                    where m.release_id = %(release_id)s and r.sop_instance_uid = o.sop_instance_uid
                      and r.receipt_id between %(first)s and %(last)s))
 order by o.path collate "C"
