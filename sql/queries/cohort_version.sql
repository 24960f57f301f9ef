-- One version with the name of its cohort.
select v.*, c.project, c.name from cohort_version v join cohort c using (cohort_id) where v.version_id = %(version_id)s
