-- Which studies the rows of a list stand for, as far as headers, answers of a PACS and receipts say. A row's strongest
-- key finds it; every other value that is given must match where the study says one.
with asked as materialized (
    select line, accession, patient_id, study_uid, to_char(starts_on, 'YYYYMMDD') as first, to_char(ends_on, 'YYYYMMDD') as last
      from cohort_list_row
     where list_id = %(list_id)s and same_as is null and coalesce(accession, patient_id, study_uid) is not null
), by_uid as materialized (
    select distinct study_uid from asked where study_uid is not null
), by_accession as materialized (
    select distinct accession from asked where study_uid is null and accession is not null
), by_patient as materialized (
    select distinct patient_id from asked where study_uid is null and accession is null
), listed as (
    select f.study_instance_uid, f.answer
      from by_uid join found_study f on f.study_instance_uid = study_uid
    union all
    select f.study_instance_uid, f.answer
      from by_accession join found_study f on f.answer #>> '{00080050,Value,0}' = accession
    union all
    select f.study_instance_uid, f.answer
      from by_patient join found_study f on f.answer #>> '{00100020,Value,0}' = patient_id
), headers as (
    select s.* from by_uid join study s on s.study_instance_uid = study_uid
    union all
    select s.* from by_accession join study s on s.accession_number = accession
    union all
    select s.* from by_patient b join study s on s.patient_id = b.patient_id
), known as materialized (
    select study_instance_uid, nullif(answer #>> '{00080050,Value,0}', '') as accession,
           nullif(answer #>> '{00100020,Value,0}', '') as patient_id,
           substring(replace(answer #>> '{00080020,Value,0}', '.', '') from '^[0-9]{8}$') as day
      from listed
    union
    select study_instance_uid, nullif(accession_number, ''), nullif(patient_id, ''), to_char(study_date, 'YYYYMMDD')
      from headers
    union
    select r.study_instance_uid, null, null, to_char(r.study_date, 'YYYYMMDD')
      from by_uid join receipt r on r.study_instance_uid = study_uid
)
select a.line, k.study_instance_uid
  from asked a join known k on k.study_instance_uid = a.study_uid
 where (k.accession = a.accession) is not false and (k.patient_id = a.patient_id) is not false
   and (k.day >= a.first) is not false and (k.day <= a.last) is not false
union
select a.line, k.study_instance_uid
  from asked a join known k on k.accession = a.accession
 where a.study_uid is null and (k.patient_id = a.patient_id) is not false
   and (k.day >= a.first) is not false and (k.day <= a.last) is not false
union
select a.line, k.study_instance_uid
  from asked a join known k on k.patient_id = a.patient_id
 where a.study_uid is null and a.accession is null
   and (k.day >= a.first) is not false and (k.day <= a.last) is not false
