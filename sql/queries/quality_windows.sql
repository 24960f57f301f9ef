-- The newest check of each window, newest first, at most 500 of the last 5000 checks.
select newest.*
  from (select distinct on (r.window_key) r.*
          from (select window_key, run_id, checked_at at time zone 'UTC' as checked_at, checked, warns, quarantines,
                       stops, halted, suite_version
                  from quality_run order by run_id desc limit 5000) r
         order by r.window_key, r.run_id desc) newest
 order by newest.run_id desc
 limit 500
