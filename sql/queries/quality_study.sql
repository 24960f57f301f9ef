-- What the quality rules of level "study" see: one row per study of a window, received or not.
-- Counts and differences only: no column carries a patient's identifier or birth date.
with member as (
    select l.study_instance_uid,
           count(l.expected_at)                                                          as expected,
           count(*) filter (where l.expected_at is not null and l.received_at is not null) as expected_and_received
      from instance_ledger l
     where l.window_key = %(window_key)s and l.study_instance_uid is not null
     group by l.study_instance_uid
),
content as (
    -- All instances of the study, whichever window brought them: identity is not a matter of windows.
    select i.study_instance_uid,
           count(distinct nullif(trim(i.patient_id), '')) as patient_ids,
           count(distinct nullif(trim(i.patient_id), ''))
               + max(case when coalesce(trim(i.patient_id), '') = '' then 1 else 0 end) as patient_id_variants,
           max(i.patient_age_years)                       as patient_age_years
      from instance i
      join member using (study_instance_uid)
     group by i.study_instance_uid
)
select member.study_instance_uid,
       case when st.study_instance_uid is not null then 'indexed' end          as header,
       case when coalesce(trim(st.patient_id), '') <> '' then 'present' end    as patient_id,
       case when coalesce(trim(st.accession_number), '') <> '' then 'present' end as accession_number,
       content.patient_ids,
       content.patient_id_variants,
       case when st.study_instance_uid is not null
            then case when st.study_date is not null then 'present' end
            else 'not indexed' end                                             as study_date,
       case when w.kind = 'day' then greatest(w.starts_on - st.study_date, st.study_date - w.ends_on, 0) end
                                                                               as days_outside_window,
       (st.study_date - st.patient_birth_date) / 365.25                        as age_by_birth_date_years,
       abs(content.patient_age_years - (st.study_date - st.patient_birth_date) / 365.25)
                                                                               as age_difference_years,
       content.patient_age_years,
       nullif(trim(st.patient_sex), '')                                        as patient_sex,
       member.expected - member.expected_and_received                          as instances_missing
  from member
  join sweep_window w on w.window_key = %(window_key)s
  left join study st using (study_instance_uid)
  left join content using (study_instance_uid)
 order by member.study_instance_uid;
