-- Where the canonical image of an instance stands. Parameter: sop_instance_uid.
select shard_id, offset_bytes, digest
  from canonical_image
 where sop_instance_uid = %(sop_instance_uid)s and shard_id is not null
