-- Rows of a list that ask for the same as an earlier row.
update cohort_list_row r
   set same_as = d.first
  from (select line, min(line) over (partition by accession, patient_id, study_uid, starts_on, ends_on) as first
          from cohort_list_row
         where list_id = %(list_id)s and coalesce(accession, patient_id, study_uid) is not null) d
 where r.list_id = %(list_id)s and r.line = d.line and d.first < d.line
