-- Rows of a list with their answers, some at a time.
select line, accession, patient_id, study_uid, starts_on, ends_on, same_as, note, answer, reason, studies,
       instances_here, instances_listed, asked_at, updated_at
  from cohort_list_row
 where list_id = %(list_id)s and line > %(after)s and (%(answer)s::text is null or answer = %(answer)s)
 order by line
 limit %(size)s
