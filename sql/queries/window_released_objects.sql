-- Every object of a window's published releases, of all kinds. Parameter: window_key.
select release_id, sop_instance_uid, object_key, bytes, sha256
  from released_object o
  join release using (release_id)
 where window_key = %(window_key)s and published_at is not null
   and not exists (select from recall_object gone
                    where gone.release_id = o.release_id and gone.object_key = o.object_key)
