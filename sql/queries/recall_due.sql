-- Releases with recalls that are not at their end, the oldest first. Parameter: release_id, or null for all.
select release_id, project, version, bucket, prefix, r.published_at, array_agg(s.recall_id order by s.recall_id) as recalls,
       sum(s.objects)::bigint as objects
  from recall_state s
  join release r using (release_id, project, version, bucket, prefix)
 where not s.is_gone and (%(release_id)s::bigint is null or release_id = %(release_id)s)
 group by release_id, project, version, bucket, prefix, r.published_at
 order by release_id
