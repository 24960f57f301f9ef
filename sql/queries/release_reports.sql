-- What the reports of a version say, by path and section. Parameters: release_id, classes.
select o.object_key as key, o.columns, g.sections
  from objects_of_release(%(release_id)s) o
  join report_reading g on g.object_key = o.object_key and g.sha256 = o.sha256
 where o.kind = 'dicom' and o.columns ->> 'sop_class_uid' = any(%(classes)s)
 order by o.path collate "C"
