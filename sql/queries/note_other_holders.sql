-- Instances that one PACS no longer lists are held all the same where another is known to list them, or lists their
-- study and has not said otherwise. Parameters: pacs, the one; windows and instances, in pairs.
insert into instance_presence (window_key, sop_instance_uid, run_id, is_held)
select distinct on (e.window_key, e.sop_instance_uid)
       e.window_key, e.sop_instance_uid, coalesce(said.run_id, f.run_id), true
  from unnest(%(windows)s::text[], %(instances)s::text[]) as lost(window_key, sop_instance_uid)
  join expectation e using (window_key, sop_instance_uid)
  join found_study f on f.study_instance_uid = e.study_instance_uid and f.window_key = e.window_key
                    and f.pacs <> %(pacs)s and f.run_id is not null
  left join lateral (select p.run_id, p.is_held
                       from instance_presence p join sweep_run r using (run_id)
                      where p.window_key = e.window_key and p.sop_instance_uid = e.sop_instance_uid
                        and r.pacs = f.pacs
                      order by p.presence_id desc limit 1) said on true
  left join lateral (select event
                       from study_event s
                      where s.window_key = f.window_key and s.pacs = f.pacs
                        and s.study_instance_uid = f.study_instance_uid
                        and event in ('gone', 'moved', 'returned')
                      order by event_id desc limit 1) newest on true
 where coalesce(said.is_held, coalesce(newest.event, 'returned') = 'returned')
 order by e.window_key, e.sop_instance_uid
