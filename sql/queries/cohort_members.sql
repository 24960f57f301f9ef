-- A page of a version's instances, in the order of their blocks, after a place (block, position).
select i.sop_instance_uid, i.series_instance_uid, i.study_instance_uid, s.modality, s.series_description, i.instance_number,
       m.block_id, i.block_position
  from cohort_member m
  join instance i on i.block_id = m.block_id and (m.positions is null or i.block_position = any (m.positions))
  join series s on s.series_instance_uid = i.series_instance_uid
 where m.version_id = %(version_id)s and m.block_id >= %(block_id)s
   and (m.block_id > %(block_id)s or i.block_position > %(position)s)
 order by m.block_id, i.block_position
 limit %(limit)s
