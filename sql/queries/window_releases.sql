-- Published releases of a window. Parameter: window_key.
select release_id, project, version, prefix, manifest_key, manifest_sha256, published_at
  from release
 where window_key = %(window_key)s and published_at is not null
 order by release_id
