-- What the quality rules of level "instance" see: one row per indexed instance of a window, series by series.
-- No column carries a patient's identifier or birth date: what is read here is shown in findings and Data Docs.
select i.sop_instance_uid,
       i.series_instance_uid,
       i.study_instance_uid,
       i.sop_class_uid,
       i.transfer_syntax_uid,
       s.modality,
       nullif(trim(s.manufacturer), '')                                            as manufacturer,
       nullif(trim(s.model_name), '')                                              as model_name,
       nullif(trim(s.software_versions), '')                                       as software_versions,
       nullif(trim(s.station_name), '')                                            as station_name,
       nullif(trim(s.device_serial_number), '')                                    as device_serial_number,
       coalesce(nullif(trim(s.station_name), ''), nullif(trim(s.device_serial_number), '')) as scanner,
       nullif(trim(s.body_part_examined), '')                                      as body_part_examined,
       nullif(trim(s.protocol_name), '')                                           as protocol_name,
       a.region_key,
       i.study_instance_uid = s.study_instance_uid                                 as study_agrees_with_series,
       i.series_instance_uid = r.series_instance_uid
           and i.study_instance_uid = r.study_instance_uid                         as hierarchy_agrees_with_receipt,
       e.sop_instance_uid is null
           or (i.series_instance_uid = e.series_instance_uid
               and i.study_instance_uid = e.study_instance_uid)                    as hierarchy_agrees_with_pacs,
       i.sop_instance_uid in (i.series_instance_uid, i.study_instance_uid)         as uid_is_a_parents,
       case when coalesce(trim(i.patient_id), '') <> '' then 'present' end         as patient_id,
       i.patient_age_years,
       i.instance_number,
       array_to_string(i.image_type, '\')                                          as image_type,
       i.rows,
       i.columns,
       i.number_of_frames,
       i.bits_stored,
       i.photometric_interpretation,
       i.pixel_spacing[1]                                                          as pixel_spacing_row_mm,
       i.pixel_spacing[2]                                                          as pixel_spacing_column_mm,
       i.slice_thickness                                                           as slice_thickness_mm,
       i.exposure_time                                                             as exposure_time_ms,
       i.image_laterality,
       i.view_position,
       i.pixel_bytes,
       i.acquired_at::date - st.study_date                                         as acquired_days_after_study_date,
       extract(epoch from i.acquired_at - (st.study_date + st.study_time)) / 60    as acquired_minutes_after_study,
       extract(epoch from i.content_at - i.acquired_at) / 60                       as content_minutes_after_acquired,
       extract(epoch from r.received_at - i.acquired_at at time zone %(time_zone)s) / 60
                                                                                   as received_minutes_after_acquired,
       extract(epoch from r.received_at - i.content_at at time zone %(time_zone)s) / 60
                                                                                   as received_minutes_after_content,
       extract(hour from coalesce(i.acquired_at::time, st.study_time))             as hour,
       alike.in_patient                                                            as same_pixels,
       alike.in_others                                                             as same_pixels_other_patient,
       alike.uids                                                                  as same_pixels_uids,
       i.block_id,
       i.block_position
  from quality_member m
  cross join lateral (select * from instance where sop_instance_uid = m.sop_instance_uid offset 0) i
  cross join lateral (select * from series where series_instance_uid = i.series_instance_uid offset 0) s
  cross join lateral (select * from study where study_instance_uid = s.study_instance_uid offset 0) st
  left join lateral (select * from header_anatomy
                      where series_instance_uid = i.series_instance_uid offset 0) a on true
  left join lateral (select * from receipt where sop_instance_uid = m.sop_instance_uid offset 0) r on true
  left join lateral (select * from expectation
                      where window_key = %(window_key)s and sop_instance_uid = m.sop_instance_uid offset 0) e on true
  left join pixel_proof p on p.sop_instance_uid = i.sop_instance_uid and p.digest is not null and not p.is_blank
  left join lateral (
       select count(*) filter (where not other)                     as in_patient,
              count(*) filter (where other)                         as in_others,
              (array_agg(uid order by other desc, uid))[1:5]        as uids
         from (select q.sop_instance_uid as uid,
                      coalesce(trim(twin.patient_id) <> trim(i.patient_id), false) as other
                 from pixel_proof q join instance twin using (sop_instance_uid)
                where q.digest = p.digest and not q.is_blank and q.sop_instance_uid <> i.sop_instance_uid
                limit 100) twins) alike on p.digest is not null
 order by i.series_instance_uid, i.block_id, i.block_position, i.sop_instance_uid;
