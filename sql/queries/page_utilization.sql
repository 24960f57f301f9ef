-- How much each scanner was used. Parameter: window_key.
select scanner, modality, exams, patients, busy_minutes, open_minutes, utilization, first_start, last_end,
       largest_gap_minutes, reported_at
  from scanner_utilization
 where window_key = %(window_key)s
 order by modality, scanner
