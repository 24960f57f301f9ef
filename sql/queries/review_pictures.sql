-- Pictures of a release without their bytes: those of rare series first. Parameters: release_id, first, page_size.
select t.sop_instance_uid, t.series, t.patient, t.position, t.jpeg is not null as drawn,
       o.columns ->> 'modality' as modality, o.columns ->> 'body_part_examined' as body_part,
       o.columns ->> 'model_name' as model_name, count(*) over () as total
  from release_thumbnail t
  join released_object o on o.release_id = t.release_id and o.sop_instance_uid = t.sop_instance_uid
 where t.release_id = %(release_id)s and o.uploaded_at is not null
   and o.kind = 'dicom'   -- not what was made of it
 order by t.patient, t.series, t.position
 limit %(page_size)s offset %(first)s
