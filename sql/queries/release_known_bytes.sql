-- Where published versions of the project hold exactly these bytes. Parameters: release_id, digests (SHA-256 in hex).
select distinct on (o.sha256) o.sha256, o.object_key
  from release t
  join release r on (r.project, r.bucket) = (t.project, t.bucket) and r.release_id <> t.release_id
  join released_object o on o.release_id = r.release_id
 where t.release_id = %(release_id)s and r.published_at is not null
   and o.uploaded_at is not null and o.sha256 = any(%(digests)s)
   and not exists (select from recall_object gone join release g using (release_id)
                    where gone.object_key = o.object_key and g.bucket = r.bucket)
 order by o.sha256, r.version
