-- When each scanner was at work, one row an exam, by the scanner's own clock. Parameter: window_key.
select coalesce(nullif(s.station_name, ''), nullif(s.device_serial_number, '')) as scanner,
       min(s.modality)    as modality,
       min(i.acquired_at) as first_image,
       max(i.acquired_at) as last_image,
       count(*)           as instances
  from window_member m
  join instance i using (sop_instance_uid)
  join series s on s.series_instance_uid = i.series_instance_uid
 where m.window_key = %(window_key)s
   and i.acquired_at is not null
   and coalesce(nullif(s.station_name, ''), nullif(s.device_serial_number, '')) is not null
 group by 1, i.study_instance_uid
 order by 1, 3
