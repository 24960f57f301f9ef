-- What the quality rules of level "series" see: one row per series of a window, received or not.
-- No column carries a patient's identifier or birth date: what is read here is shown in findings and Data Docs.
with member as (
    select l.series_instance_uid,
           count(l.expected_at)                                                          as expected,
           count(*) filter (where l.expected_at is not null and l.received_at is not null) as expected_and_received
      from instance_ledger l
     where l.window_key = %(window_key)s and l.series_instance_uid is not null
     group by l.series_instance_uid
),
content as (
    select i.series_instance_uid,
           count(*)                             as instances,
           count(distinct i.study_instance_uid) as studies,
           -- Instances are acquired first and stored afterwards: a negative lag is a clock that is wrong.
           percentile_cont(0.5) within group (
               order by extract(epoch from i.stored_in_pacs_at - i.acquired_at at time zone %(time_zone)s) / 60
           ) filter (where i.acquired_at is not null and i.stored_in_pacs_at is not null)
                                                as stored_minutes_after_acquired
      from instance i
      join member using (series_instance_uid)
     group by i.series_instance_uid
)
select member.series_instance_uid,
       s.study_instance_uid,
       s.modality,
       nullif(trim(s.body_part_examined), '')             as body_part_examined,
       a.region_key,
       nullif(s.laterality, '')                           as laterality,
       coalesce(nullif(trim(s.station_name), ''), nullif(trim(s.device_serial_number), ''))
                                                          as scanner,
       nullif(trim(s.manufacturer), '')                   as manufacturer,
       s.series_date - st.study_date                      as series_days_after_study_date,
       member.expected - member.expected_and_received     as instances_missing,
       content.studies,
       content.instances,
       content.stored_minutes_after_acquired
  from member
  join series s using (series_instance_uid)
  join study st on st.study_instance_uid = s.study_instance_uid
  left join content using (series_instance_uid)
  left join header_anatomy a on a.series_instance_uid = member.series_instance_uid
 order by member.series_instance_uid;
