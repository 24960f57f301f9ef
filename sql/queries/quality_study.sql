-- What the quality rules of level "study" see: one row per study of a window, received or not.
-- Counts and differences only: no column carries a patient's identifier or birth date.
with member as materialized (
    select l.study_instance_uid,
           count(l.expected_at)                                                          as expected,
           count(*) filter (where l.expected_at is not null and l.received_at is not null) as expected_and_received,
           min(l.received_at)                                                            as received_at
      from quality_member l
     where l.study_instance_uid is not null
     group by l.study_instance_uid
),
content as (
    -- All instances of the study, whichever window brought them: identity is not a matter of windows.
    select i.study_instance_uid,
           count(distinct nullif(trim(i.patient_id), '')) as patient_ids,
           count(distinct nullif(trim(i.patient_id), ''))
               + max(case when coalesce(trim(i.patient_id), '') = '' then 1 else 0 end) as patient_id_variants,
           max(i.patient_age_years)                       as patient_age_years
      from member
      cross join lateral (select * from instance
                           where study_instance_uid = member.study_instance_uid offset 0) i
     group by i.study_instance_uid
)
select member.study_instance_uid,
       made.scanner,
       case when st.study_instance_uid is not null then 'indexed' end          as header,
       case when coalesce(trim(st.patient_id), '') <> '' then 'present' end    as patient_id,
       case when coalesce(trim(st.accession_number), '') <> '' then 'present' end as accession_number,
       content.patient_ids,
       content.patient_id_variants,
       person.birth_dates                                                      as birth_dates_of_patient_id,
       person.sexes                                                            as sexes_of_patient_id,
       person.names                                                            as names_of_patient_id,
       case when st.study_instance_uid is not null
            then case when st.study_date is not null then 'present' end
            else 'not indexed' end                                             as study_date,
       case when w.kind = 'day' then greatest(w.starts_on - st.study_date, st.study_date - w.ends_on, 0) end
                                                                               as days_outside_window,
       st.study_date - (member.received_at at time zone %(time_zone)s)::date   as days_in_future,
       (st.study_date - st.patient_birth_date) / 365.25                        as age_by_birth_date_years,
       abs(content.patient_age_years - (st.study_date - st.patient_birth_date) / 365.25)
                                                                               as age_difference_years,
       content.patient_age_years,
       nullif(trim(st.patient_sex), '')                                        as patient_sex,
       st.patient_name ~ %(damaged)s or st.study_description ~ %(damaged)s or st.institution_name ~ %(damaged)s
                                                                               as has_damaged_text,
       member.expected - member.expected_and_received                          as instances_missing
  from member
  join sweep_window w on w.window_key = %(window_key)s
  left join lateral (select * from study where study_instance_uid = member.study_instance_uid offset 0) st on true
  left join content on content.study_instance_uid = member.study_instance_uid
  left join lateral (
       select coalesce(nullif(trim(s.station_name), ''), nullif(trim(s.device_serial_number), '')) as scanner
         from series s
        where s.study_instance_uid = member.study_instance_uid
        group by 1 order by count(*) desc, 1 limit 1) made on true
  left join lateral (
       -- Other studies under the same Patient ID: names are compared by their letters, family and first given name.
       select count(distinct patient_birth_date) as birth_dates, count(distinct sex) as sexes,
              least(count(distinct name[1]), count(distinct name[2])) as names
         from (select other.patient_birth_date, nullif(trim(other.patient_sex), 'O') as sex,
                      regexp_match(upper(translate(other.patient_name, ' -''.', '')),
                                   '^([^\^=]+)\^([^\^=]*)') as name
                 from study other
                where other.patient_id = st.patient_id and trim(st.patient_id) <> ''
                  and other.patient_id_issuer is not distinct from st.patient_id_issuer
                limit 200) same) person on true
 order by member.study_instance_uid;
