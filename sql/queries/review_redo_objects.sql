-- What is to be produced again counts as not uploaded, and so does what was derived of it. Parameter: release_id. The two ways
-- stand apart: with an `or` between them each object would be compared with each.
with marked as (
    select o.object_key
      from review_redo r
      join released_object o on o.release_id = r.release_id and o.sop_instance_uid = r.sop_instance_uid
     where r.release_id = %(release_id)s and o.uploaded_at is not null
    union
    select o.object_key
      from released_object o
     cross join lateral unnest(o.sources) as source(uid)
      join review_redo r on r.release_id = o.release_id and r.sop_instance_uid = source.uid
     where o.release_id = %(release_id)s and o.uploaded_at is not null
)
update released_object o set uploaded_at = null
  from marked
 where o.release_id = %(release_id)s and o.object_key = marked.object_key
