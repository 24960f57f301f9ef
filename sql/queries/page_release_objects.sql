-- What stands in the bucket, as the database knows it. Parameters: release_id; after, the last key seen or ''; page_size.
select object_key, bytes, sha256, verified_at, uploaded_at
  from released_object
 where release_id = %(release_id)s and object_key > %(after)s
 order by object_key
 limit %(page_size)s
