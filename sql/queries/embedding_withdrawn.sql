-- Embeddings that may not be kept: opted out for every project, or of instances that are not in the archive.
select distinct e.sop_instance_uid
  from embedding e
 where not exists (select from receipt r where r.sop_instance_uid = e.sop_instance_uid)
    or e.sop_instance_uid in (select o.sop_instance_uid from opted_out_instance o where o.projects is null)
 order by e.sop_instance_uid
