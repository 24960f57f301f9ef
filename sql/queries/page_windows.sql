-- Which windows there are, newest first, with how much the PACS listed in each.
select w.window_key, w.kind, w.starts_on, w.ends_on, w.created_at,
       (select count(*) from expectation e where e.window_key = w.window_key) as expected
  from sweep_window w
 order by w.starts_on desc, w.window_key
 limit 1000
