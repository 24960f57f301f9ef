-- What was derived of objects that are to be made anew is derived anew, too: a picture of the object, a volume of its series.
with marked as (
    select sop_instance_uid as source from review_redo where release_id = %(release_id)s
    union
    select c.series_instance_uid
      from review_redo r join receipt c using (sop_instance_uid)
     where r.release_id = %(release_id)s
)
delete from release_derivation d
 using marked
 where d.release_id = %(release_id)s and d.source = marked.source
