-- Between which study dates a list asks, and how many of its rows leave an end open.
select min(starts_on) as first, max(ends_on) as last,
       count(*) filter (where starts_on is null) as open_from, count(*) filter (where ends_on is null) as open_to
  from cohort_list_row
 where list_id = %(list_id)s and coalesce(accession, patient_id, study_uid) is not null
