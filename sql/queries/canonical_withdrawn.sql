-- Canonical images that may not be kept: opted out for every project, or of instances that are not in the archive.
select c.sop_instance_uid
  from canonical_image c
 where c.shard_id is not null
   and (not exists (select from receipt r where r.sop_instance_uid = c.sop_instance_uid)
        or c.sop_instance_uid in (select o.sop_instance_uid from opted_out_instance o where o.projects is null))
 order by c.sop_instance_uid
