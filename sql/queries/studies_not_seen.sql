-- Studies that one sweep of a window was not answered, though an earlier sweep was, of this window or of a cohort (by
-- the study date that the PACS gave then), and that are not known to be gone. Parameters: pacs, window_key, run_id.
with found as (
    select study_instance_uid, window_key
      from found_study
     where pacs = %(pacs)s and window_key = %(window_key)s and run_id is distinct from %(run_id)s
    union all
    select f.study_instance_uid, f.window_key
      from sweep_window w
      join found_study f
        on f.answer #>> '{00080020,Value,0}' between to_char(w.starts_on, 'YYYYMMDD') and to_char(w.ends_on, 'YYYYMMDD')
     where w.window_key = %(window_key)s
       and w.kind = 'day'
       and f.pacs = %(pacs)s
       and f.window_key like 'cohort/%%'
       and not exists (select from found_study own
                        where own.pacs = f.pacs and own.study_instance_uid = f.study_instance_uid
                          and own.window_key = w.window_key)
)
select found.study_instance_uid as uid, bool_or(found.window_key = %(window_key)s) as is_ours
  from found
  left join lateral (select event
                       from study_event e
                      where e.window_key = found.window_key and e.pacs = %(pacs)s
                        and e.study_instance_uid = found.study_instance_uid
                        and event in ('gone', 'moved', 'returned')
                      order by event_id desc limit 1) newest on true
 where coalesce(newest.event, 'returned') = 'returned'
 group by 1
 order by 1
