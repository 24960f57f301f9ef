-- Names and ids of every patient we have met; read by checks that look for them where they must not be.
select distinct value
  from study, lateral (values (patient_name), (patient_id), (accession_number)) identifier(value)
 where value is not null
