-- Exported DICOM objects of a part of a release. Parameters: release_id; first, last: receipt ids, inclusive.
select o.sop_instance_uid, o.object_key, o.sha256, o.columns
  from released_object o
  join receipt r using (sop_instance_uid)
 where o.release_id = %(release_id)s and o.kind = 'dicom' and o.uploaded_at is not null
   and r.receipt_id between %(first)s and %(last)s
 order by r.receipt_id
