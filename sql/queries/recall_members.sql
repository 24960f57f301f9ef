-- Members of a release that must not be in it: opted out now, or recalled from it. Parameter: release_id.
select m.sop_instance_uid
  from release_member m
  join release r using (release_id)
  join opted_out_instance x using (sop_instance_uid)
 where m.release_id = %(release_id)s and (x.projects is null or r.project = any (x.projects))
union
select sop_instance_uid from recall_object where release_id = %(release_id)s and sop_instance_uid is not null
