-- Cohorts of a project, or of all, with their newest version, by name.
select c.cohort_id, c.project, c.name, c.created_by, c.created_at, v.version_id, v.version, v.expression, v.patients, v.studies,
       v.series, v.instances, v.bytes, v.wanted_studies, v.wanted_instances, v.frozen_by, v.why, v.frozen_at
  from cohort c
  join lateral (select * from cohort_version where cohort_id = c.cohort_id order by version desc limit 1) v on true
 where %(project)s::text is null or c.project = %(project)s
 order by c.project, c.name
