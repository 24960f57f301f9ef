-- The newest day that was checked.
select max(o.day) as day
  from quality_objects o
  join sweep_window w on w.window_key = o.window_key and w.kind = 'day'
