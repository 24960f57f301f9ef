-- Which series a gap is in. Parameters: window_key, step, reason_code.
select g.study_instance_uid, g.series_instance_uid, g.modality,
       coalesce(nullif(s.station_name, ''), nullif(s.device_serial_number, '')) as scanner,
       count(*)         as instances,
       min(g.detail)    as detail,
       max(g.noted_at)  as noted_at
  from open_gap g
  left join series s using (series_instance_uid)
 where g.window_key = %(window_key)s and g.step = %(step)s and g.reason_code = %(reason_code)s
 group by g.study_instance_uid, g.series_instance_uid, g.modality, s.station_name, s.device_serial_number
 order by count(*) desc, g.study_instance_uid, g.series_instance_uid
 limit 200
