-- Pictures that stand in a shard, which are of one side. Parameter: shard_id.
select sop_instance_uid, offset_bytes, digest
  from canonical_image
 where shard_id = %(shard_id)s
union all
select sop_instance_uid, offset_bytes, digest
  from detail_image
 where shard_id = %(shard_id)s
 order by offset_bytes
