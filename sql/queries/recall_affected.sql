-- Objects that were released, or are on their way, of what was opted out meanwhile, and by which opt-outs; those too that
-- were derived of it. What a recall has decided upon already is left out. Parameter: release_id, or null for all releases.
with made as (
    select x.opt_out_id, x.projects, o.release_id, o.object_key
      from opted_out_instance x join released_object o using (sop_instance_uid)
    union
    select x.opt_out_id, x.projects, o.release_id, o.object_key
      from opted_out_instance x join released_object o on o.sources @> array[x.sop_instance_uid]
)
select o.release_id, o.object_key, o.kind, o.sop_instance_uid, o.bytes, o.sha256,
       array_agg(distinct m.opt_out_id) as causes
  from made m
  join released_object o using (release_id, object_key)
  join release r using (release_id)
 where (m.projects is null or r.project = any (m.projects))
   and (%(release_id)s::bigint is null or o.release_id = %(release_id)s)
   and not exists (select from recall_object gone
                    where gone.release_id = o.release_id and gone.object_key = o.object_key)
 group by o.release_id, o.object_key, o.kind, o.sop_instance_uid, o.bytes, o.sha256
 order by o.release_id, o.object_key
