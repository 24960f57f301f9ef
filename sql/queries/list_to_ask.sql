-- Rows of a list that the PACS has to be asked for: nothing that a sweep has listed stands for them, and it was not
-- asked since.
select line, accession, patient_id, study_uid, starts_on, ends_on
  from cohort_list_row r
 where list_id = %(list_id)s and line > %(after)s
   and same_as is null and coalesce(accession, patient_id, study_uid) is not null
   and (asked_at is null or (asked_at < %(since)s and answer in ('not-found', 'refused')))
   and not exists (select from cohort_list_study s join expectation e using (study_instance_uid)
                    where s.list_id = r.list_id and s.line = r.line)
 order by line
 limit %(size)s
