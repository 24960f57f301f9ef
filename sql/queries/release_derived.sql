-- Files that an earlier published version of the project holds, made of the same bytes by the same recipe.
-- Parameters: release_id, kind, recipe, digests (of the sources).
with known as (
    select distinct on (o.source_sha256) o.source_sha256, r.version
      from release t
      join release r on (r.project, r.bucket) = (t.project, t.bucket) and r.release_id <> t.release_id
      join released_object o on o.release_id = r.release_id
     where t.release_id = %(release_id)s and r.published_at is not null
       and o.kind = %(kind)s and o.recipe = %(recipe)s and o.source_sha256 = any(%(digests)s)
     group by o.source_sha256, r.version, t.bucket
    having bool_and(o.uploaded_at is not null
                    and not exists (select from recall_object gone join release g using (release_id)
                                     where gone.object_key = o.object_key and g.bucket = t.bucket))
     order by o.source_sha256, r.version
)
select o.sop_instance_uid, o.object_key, o.bytes, o.sha256, o.columns, o.source_sha256, o.sources
  from known k
  join release t on t.release_id = %(release_id)s
  join release r on (r.project, r.bucket, r.version) = (t.project, t.bucket, k.version)
  join released_object o on o.release_id = r.release_id and o.kind = %(kind)s and o.recipe = %(recipe)s
                        and o.source_sha256 = k.source_sha256
