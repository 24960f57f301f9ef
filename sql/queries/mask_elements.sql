-- One element of the headers of a release's members, where they have it. Parameters: release_id, tag (eight hex digits).
with member as materialized (
    select i.sop_instance_uid, i.block_id, i.block_position
      from release_member m join instance i using (sop_instance_uid)
     where m.release_id = %(release_id)s and i.block_id is not null
)
select m.sop_instance_uid, e.element -> 'Value' as value
  from member m
  join header_elements(%(tag)s, array(select distinct block_id from member)) e
    on e.block_id = m.block_id and (e.block_position is null or e.block_position = m.block_position)
