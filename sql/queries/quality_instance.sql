-- What the quality rules of level "instance" see: one row per indexed instance of a window.
-- No column carries a patient's identifier or birth date: what is read here is shown in findings and Data Docs.
select i.sop_instance_uid,
       i.series_instance_uid,
       i.study_instance_uid,
       i.sop_class_uid,
       s.modality,
       s.station_name,
       i.study_instance_uid = s.study_instance_uid                                 as study_agrees_with_series,
       i.series_instance_uid = r.series_instance_uid
           and i.study_instance_uid = r.study_instance_uid                         as hierarchy_agrees_with_receipt,
       e.sop_instance_uid is null
           or (i.series_instance_uid = e.series_instance_uid
               and i.study_instance_uid = e.study_instance_uid)                    as hierarchy_agrees_with_pacs,
       case when coalesce(trim(i.patient_id), '') <> '' then 'present' end         as patient_id,
       i.instance_number,
       i.rows,
       i.columns,
       i.number_of_frames,
       i.bits_stored,
       i.pixel_spacing[1]                                                          as pixel_spacing_row_mm,
       i.pixel_spacing[2]                                                          as pixel_spacing_column_mm,
       i.slice_thickness                                                           as slice_thickness_mm,
       i.acquired_at::date - st.study_date                                         as acquired_days_after_study_date,
       extract(epoch from r.received_at - i.acquired_at at time zone %(time_zone)s) / 60
                                                                                   as received_minutes_after_acquired
  from window_member m
  join instance i using (sop_instance_uid)
  join series s  on s.series_instance_uid = i.series_instance_uid
  join study st  on st.study_instance_uid = i.study_instance_uid
  left join receipt r on r.sop_instance_uid = i.sop_instance_uid
  left join expectation e on e.window_key = m.window_key and e.sop_instance_uid = i.sop_instance_uid
 where m.window_key = %(window_key)s
 order by i.sop_instance_uid;
