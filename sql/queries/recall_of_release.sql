-- Everything that was recalled of a release. Parameter: release_id.
select o.object_key, o.sha256, c.revision, c.reason, c.ordered_at
  from recall_object o join recall c using (recall_id)
 where o.release_id = %(release_id)s
 order by o.object_key
