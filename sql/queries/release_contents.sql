-- Published versions that a version contains besides its own members: of its line, the newest of each other window that came
-- before it, under the same identities. Parameter: release_id.
select distinct on (r.window_key) r.release_id, r.version, r.window_key, r.profile, r.manifest_sha256
  from release t
  join release r on (r.project, r.line, r.bucket) = (t.project, t.line, t.bucket)
                and r.profile -> 'name' is not distinct from t.profile -> 'name'
                and r.profile -> 'key_id' is not distinct from t.profile -> 'key_id'
                and r.profile -> 'pseudonym_prefix' is not distinct from t.profile -> 'pseudonym_prefix'
 where t.release_id = %(release_id)s
   and r.window_key <> t.window_key and r.version < t.version and r.published_at is not null
 order by r.window_key, r.version desc
