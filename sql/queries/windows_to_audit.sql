-- Days to sweep again, the longest overdue first: those that no sweep has finished since they reached one of the ages,
-- and those to whose date a study has moved since. Parameters: ages, days after the day's end; today; most.
with finished as (
    select window_key, max(started_at) as last_at
      from sweep_run
     where finished_at is not null and from_s = 0 and to_s = 86400
     group by window_key
), aged as (
    select w.window_key, max(w.ends_on + 1 + age.days) as due_on
      from sweep_window w
      join finished f using (window_key)
      cross join unnest(%(ages)s::integer[]) as age(days)
     where w.kind = 'day'
       and w.ends_on + 1 + age.days <= %(today)s
       and f.last_at < w.ends_on + 1 + age.days
     group by w.window_key
), moved as (
    select to_char(to_date(e.day, 'YYYYMMDD'), 'YYYY-MM-DD') as window_key,
           max(e.noted_at)                                   as noted_at
      from (select replace(detail #>> '{StudyDate,1,0}', '.', '') as day, noted_at
              from study_event where event = 'moved') e
     where e.day ~ '^[0-9]{4}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])$'
     group by 1
)
select window_key, min(due_on) as due_on
  from (select window_key, due_on from aged
        union all
        select m.window_key, m.noted_at::date
          from moved m left join finished f using (window_key)
         where m.noted_at > coalesce(f.last_at, '-infinity') and m.window_key < %(today)s::text) due
 group by window_key
 order by due_on, window_key
 limit %(most)s
