-- Films with a canonical image that a model has read and has no features of, in the order of their UIDs; never of whom
-- nobody may use. Parameters: model_id, after: the UID before, most.
select p.sop_instance_uid, k.shard_id, k.offset_bytes, k.digest
  from prediction p
  join canonical_image k on k.sop_instance_uid = p.sop_instance_uid and k.shard_id is not null
 where p.model_id = %(model_id)s and p.sop_instance_uid > %(after)s
   and not exists (select from embedding e where e.sop_instance_uid = p.sop_instance_uid and e.model_id = p.model_id)
   and p.sop_instance_uid not in (select o.sop_instance_uid from opted_out_instance o where o.projects is null)
 order by p.sop_instance_uid
 limit %(most)s
