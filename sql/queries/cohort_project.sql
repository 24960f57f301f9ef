-- The project of a cohort, or of a version. Parameters: cohort_id, version_id; one of them is null.
select project
  from cohort
 where cohort_id = coalesce(%(cohort_id)s::bigint,
                            (select cohort_id from cohort_version where version_id = %(version_id)s::bigint))
