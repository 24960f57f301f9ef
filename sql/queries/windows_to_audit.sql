-- Days to sweep again at each PACS that was swept for them, the longest overdue first: those that no sweep there has
-- finished since they reached one of the ages, and those to whose date that PACS has moved a study since.
-- Parameters: ages, days after the day's end; today; most, of each PACS.
with finished as (
    select pacs, window_key, max(started_at) as last_at
      from sweep_run
     where finished_at is not null and from_s = 0 and to_s = 86400
     group by pacs, window_key
), aged as (
    select f.pacs, w.window_key, max(w.ends_on + 1 + age.days) as due_on
      from sweep_window w
      join finished f using (window_key)
      cross join unnest(%(ages)s::integer[]) as age(days)
     where w.kind = 'day'
       and w.ends_on + 1 + age.days <= %(today)s
       and f.last_at < w.ends_on + 1 + age.days
     group by f.pacs, w.window_key
), moved as (
    select e.pacs,
           to_char(to_date(e.day, 'YYYYMMDD'), 'YYYY-MM-DD') as window_key,
           max(e.noted_at)                                   as noted_at
      from (select pacs, replace(detail #>> '{StudyDate,1,0}', '.', '') as day, noted_at
              from study_event where event = 'moved') e
     where e.day ~ '^[0-9]{4}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])$'
     group by 1, 2
), due as (
    select pacs, window_key, min(due_on) as due_on
      from (select pacs, window_key, due_on from aged
            union all
            select m.pacs, m.window_key, m.noted_at::date
              from moved m left join finished f using (pacs, window_key)
             where m.noted_at > coalesce(f.last_at, '-infinity') and m.window_key < %(today)s::text) either
     group by pacs, window_key
)
select pacs, window_key, due_on
  from (select due.*, row_number() over (partition by pacs order by due_on, window_key) as place from due) placed
 where place <= %(most)s
 order by due_on, window_key, pacs
