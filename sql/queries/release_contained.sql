-- Versions that a version contains besides its own members. Parameter: release_id.
select r.version, r.window_key, r.manifest_sha256
  from release_content c join release r on r.release_id = c.contains
 where c.release_id = %(release_id)s
 order by r.version
