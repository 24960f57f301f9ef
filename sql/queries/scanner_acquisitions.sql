-- Acquisition times of a window's images, with what tells their scanner and how they came to be stored.
select coalesce(s.station_name, s.device_serial_number) as scanner,
       s.modality,
       i.study_instance_uid,
       i.series_instance_uid,
       i.patient_id,
       i.acquired_at,
       i.stored_in_pacs_at,
       case when r.source = 'push' then r.received_at end as pushed_at
  from window_member m
  join instance i using (sop_instance_uid)
  join series s on s.series_instance_uid = i.series_instance_uid
  join receipt r on r.sop_instance_uid = i.sop_instance_uid
 where m.window_key = %(window_key)s
   and coalesce(s.station_name, s.device_serial_number) is not null
   and s.modality = any(%(modalities)s)
   and i.acquired_at is not null
