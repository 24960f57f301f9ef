-- The same for the two weeks that end with a window, for the drift of clocks; one row a series and scanner.
select coalesce(s.station_name, s.device_serial_number) as scanner,
       max(i.acquired_at) as acquired_at,
       max(extract(epoch from i.acquired_at - (i.stored_in_pacs_at at time zone %(time_zone)s))) as difference_s
  from instance i
  join series s on s.series_instance_uid = i.series_instance_uid
 where coalesce(s.station_name, s.device_serial_number) = any(%(scanners)s)
   and s.modality = any(%(modalities)s)
   and i.acquired_at >= %(starts_on)s::date - 13 and i.acquired_at < %(ends_on)s::date + 2
   and i.stored_in_pacs_at is not null
 group by s.series_instance_uid, coalesce(s.station_name, s.device_serial_number)
