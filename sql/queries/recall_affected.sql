-- Objects that were released, or are on their way, of what was opted out meanwhile, and by which opt-outs. What a recall
-- has decided upon already is left out. Parameter: release_id, or null for all releases.
select o.release_id, o.object_key, o.sop_instance_uid, o.bytes, o.sha256, array_agg(distinct x.opt_out_id) as causes
  from opted_out_instance x
  join released_object o using (sop_instance_uid)
  join release r using (release_id)
 where (x.projects is null or r.project = any (x.projects))
   and (%(release_id)s::bigint is null or o.release_id = %(release_id)s)
   and not exists (select from recall_object gone
                    where gone.release_id = o.release_id and gone.object_key = o.object_key)
 group by o.release_id, o.object_key, o.sop_instance_uid, o.bytes, o.sha256
 order by o.release_id, o.object_key
