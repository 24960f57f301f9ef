-- Which windows there are, newest first.
select window_key, kind, starts_on, ends_on, created_at
  from sweep_window
 order by starts_on desc, window_key
 limit 1000
