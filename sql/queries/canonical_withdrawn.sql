-- Instances whose canonical or detail images may not be kept: opted out for every project, or not in the archive.
select c.sop_instance_uid
  from (select sop_instance_uid from canonical_image where shard_id is not null
        union
        select sop_instance_uid from detail_image) c
 where not exists (select from receipt r where r.sop_instance_uid = c.sop_instance_uid)
    or c.sop_instance_uid in (select o.sop_instance_uid from opted_out_instance o where o.projects is null)
 order by c.sop_instance_uid
