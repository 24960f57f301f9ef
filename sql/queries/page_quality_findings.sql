-- Which objects break a rule. Parameters: window_key, rule.
select f.level, f.study_instance_uid, f.series_instance_uid, f.sop_instance_uid, f.observed, s.modality,
       coalesce(nullif(s.station_name, ''), nullif(s.device_serial_number, '')) as scanner
  from quality_finding f
  left join series s using (series_instance_uid)
 where f.window_key = %(window_key)s and f.rule = %(rule)s
 order by f.study_instance_uid, f.series_instance_uid, f.sop_instance_uid
 limit 200
