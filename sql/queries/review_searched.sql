-- Members of a release whose pixels were looked at for text.
select count(*) as searched
  from release_member m
 where m.release_id = %(release_id)s
   and exists (select from pixel_screening p where p.sop_instance_uid = m.sop_instance_uid and p.failed is null)
