-- Whether a release can be approved: what is to be produced again, what is neither uploaded nor held, whether it was read
-- back since, and whether it is published.
select (select count(*) from review_redo d where d.release_id = r.release_id)                          as redo,
       (select count(*) from release_member m
          left join released_object o on o.release_id = m.release_id and o.sop_instance_uid = m.sop_instance_uid
                                     and o.kind = 'dicom'
         where m.release_id = r.release_id and m.held_reason is null and o.uploaded_at is null)        as open,
       r.verified_at is not null
         and r.verified_at >= coalesce((select max(uploaded_at) from released_object o
                                         where o.release_id = r.release_id), r.verified_at)            as verified,
       r.published_at is not null as published
  from release r
 where r.release_id = %(release_id)s
