-- A release as a recall needs it. Parameter: release_id.
select release_id, project, version, bucket, prefix, published_at, manifest_key, manifest_sha256
  from release
 where release_id = %(release_id)s
