-- The versions of a cohort, newest first.
select version_id, version, expression, digest, limited_by, as_of, member_digest, patients, studies, series, instances, bytes,
       wanted_studies, wanted_instances, frozen_by, why, frozen_at
  from cohort_version
 where cohort_id = %(cohort_id)s
 order by version desc
