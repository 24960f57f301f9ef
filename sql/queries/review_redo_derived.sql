-- What was derived of objects that are to be made anew is derived anew, too: a picture of the object, a volume of its series.
delete from release_derivation d
 using review_redo r join receipt c using (sop_instance_uid)
 where r.release_id = %(release_id)s and d.release_id = r.release_id
   and d.source in (r.sop_instance_uid, c.series_instance_uid)
