-- What a part's members have in the release's own folder and nobody read back since it was uploaded.
-- Parameters: release_id, first, last (receipt ids of the part).
select o.object_key, o.bytes, o.sha256
  from released_object o
  join release r using (release_id)
  join receipt c on c.sop_instance_uid = coalesce(o.sop_instance_uid, o.sources[1])
 where o.release_id = %(release_id)s
   and c.receipt_id between %(first)s and %(last)s
   and (o.read_back_at is null or o.read_back_at < o.uploaded_at)
   and o.uploaded_at is not null
   and starts_with(o.object_key, r.prefix)
 order by o.object_key
