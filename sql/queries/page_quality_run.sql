-- The newest check of a window, and how many rules it had. Parameter: window_key.
select run.checked_at, run.checked, run.warns, run.quarantines, run.stops, run.halted,
       (select count(*) from quality_rule r where r.suite_version = run.suite_version) as rules
  from quality_run run
 where run.window_key = %(window_key)s
 order by run.run_id desc
 limit 1
