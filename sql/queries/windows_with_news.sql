-- Days for which sweeps since a moment found studies that are late, changed or back. Parameter: since.
select distinct e.window_key
  from study_event e
  join sweep_window w using (window_key)
 where e.noted_at >= %(since)s
   and w.kind = 'day'
   and (e.event in ('late', 'returned')
        or (e.event = 'changed' and coalesce((e.detail #>> '{instances,0}')::integer, 0) > 0))
 order by 1
