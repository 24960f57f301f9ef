-- What a project asks of the approval of a release, and who asked for the release: who froze its cohort or
-- uploaded its list, who started the run. A published release keeps what was asked of it.
update release r
   set approvals_needed = %(needed)s,
       approvers = %(approvers)s,
       requested_by = array(select distinct name
                              from unnest(r.requested_by || %(requested_by)s::text[]
                                          || array(select v.frozen_by from cohort_version v
                                                    where v.version_id = r.cohort_version_id)
                                          || array(select l.uploaded_by from cohort_list l
                                                    where l.list_id = %(list_id)s)) as name
                             where name is not null order by name)
 where r.release_id = %(release_id)s and r.published_at is null
