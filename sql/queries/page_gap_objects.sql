-- Which series a gap is in, a page at a time in the order of their UIDs.
-- Parameters: window_key, step, reason_code, after (position of the last row before, '' at first), page_size.
select g.position, g.study_instance_uid, g.series_instance_uid, g.modality,
       coalesce(nullif(s.station_name, ''), nullif(s.device_serial_number, '')) as scanner,
       g.instances, g.detail, g.noted_at
  from (select concat_ws(' ', study_instance_uid, series_instance_uid) as position,
               study_instance_uid, series_instance_uid, min(modality) as modality,
               count(*) as instances, min(detail) as detail, max(noted_at) as noted_at
          from (select study_instance_uid, series_instance_uid, modality, detail, last_attempt_at as noted_at
                  from missing_instance  -- what did not arrive needs nothing of the ledger's later steps
                 where %(step)s = 'received' and window_key = %(window_key)s and reason_code = %(reason_code)s
                union all
                select study_instance_uid, series_instance_uid, modality, detail, noted_at
                  from open_gap
                 where %(step)s <> 'received' and window_key = %(window_key)s and step = %(step)s
                   and reason_code = %(reason_code)s) gap
         group by study_instance_uid, series_instance_uid) g
  left join series s using (series_instance_uid)
 where g.position collate "C" > %(after)s
 order by g.position collate "C"
 limit %(page_size)s
