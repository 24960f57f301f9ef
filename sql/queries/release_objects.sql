-- Every object of a version, by path. Parameter: release_id.
select path, object_key, kind, bytes, sha256, columns, recipe, sop_instance_uid, engine
  from objects_of_release(%(release_id)s)
 order by path collate "C"
