-- How far each scanner's clock is off. Parameter: window_key.
select scanner, modality, samples, offset_s, spread_s, drift_s_per_day, reference, suspected, reported_at
  from clock_offset
 where window_key = %(window_key)s
 order by abs(offset_s) desc nulls last, scanner
