-- What the quality rules of level "series" see: one row per series of a window, received or not.
-- No column carries a patient's identifier or birth date: what is read here is shown in findings and Data Docs.
-- All instances of the series count, whichever window brought them.
with member as materialized (
    select l.series_instance_uid,
           count(l.expected_at)                                                          as expected,
           count(*) filter (where l.expected_at is not null and l.received_at is not null) as expected_and_received
      from quality_member l
     where l.series_instance_uid is not null
     group by l.series_instance_uid
),
content as (
    select i.series_instance_uid,
           count(*)                                        as instances,
           count(distinct i.study_instance_uid)            as studies,
           count(i.instance_number)                        as numbered,
           count(distinct i.instance_number)               as numbers,
           max(i.instance_number) - min(i.instance_number) + 1 as numbers_spanned,
           count(distinct (i.rows, i.columns)) filter (where not coalesce('LOCALIZER' = any(i.image_type), false))
                                                           as matrix_sizes,
           bool_or(i.image_laterality in ('L', 'R', 'B'))  as side_in_images,
           -- Instances are acquired first and stored afterwards: a negative lag is a clock that is wrong.
           percentile_cont(0.5) within group (
               order by extract(epoch from i.stored_in_pacs_at - i.acquired_at at time zone %(time_zone)s) / 60
           ) filter (where i.acquired_at is not null and i.stored_in_pacs_at is not null)
                                                           as stored_minutes_after_acquired
      from member
      cross join lateral (select * from instance
                           where series_instance_uid = member.series_instance_uid offset 0) i
     group by i.series_instance_uid
)
select member.series_instance_uid,
       s.study_instance_uid,
       s.modality,
       nullif(trim(s.body_part_examined), '')             as body_part_examined,
       a.region_key,
       nullif(s.laterality, '')                           as laterality,
       coalesce(nullif(s.laterality, ''), a.laterality, case when content.side_in_images then 'given' end)
                                                          as side,
       coalesce(nullif(trim(s.station_name), ''), nullif(trim(s.device_serial_number), ''))
                                                          as scanner,
       nullif(trim(s.manufacturer), '')                   as manufacturer,
       nullif(trim(s.model_name), '')                     as model_name,
       nullif(trim(s.software_versions), '')              as software_versions,
       nullif(trim(s.station_name), '')                   as station_name,
       s.series_date - st.study_date                      as series_days_after_study_date,
       s.series_instance_uid = s.study_instance_uid       as uid_is_the_studys,
       s.series_description ~ %(damaged)s or s.protocol_name ~ %(damaged)s or s.body_part_examined ~ %(damaged)s
                                                          as has_damaged_text,
       member.expected - member.expected_and_received     as instances_missing,
       content.studies,
       content.instances,
       case when content.numbers_spanned <= 20 * content.numbers
            then content.numbers_spanned - content.numbers end as instance_numbers_missing,
       content.numbered - content.numbers                 as instance_numbers_repeated,
       content.matrix_sizes,
       content.stored_minutes_after_acquired
  from member
  cross join lateral (select * from series where series_instance_uid = member.series_instance_uid offset 0) s
  cross join lateral (select * from study where study_instance_uid = s.study_instance_uid offset 0) st
  left join content on content.series_instance_uid = member.series_instance_uid
  left join lateral (select * from header_anatomy
                      where series_instance_uid = member.series_instance_uid offset 0) a on true
 order by member.series_instance_uid;
