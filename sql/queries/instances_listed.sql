-- The expected instances of a study in every window: what one PACS said of each last (`said`, null: only what made it
-- expected), whether it lists it as far as is known, and why it is absent (null: it is not). Parameters: pacs, study.
select e.window_key, e.sop_instance_uid as sop, mine.is_held as said,
       coalesce(mine.is_held, e.pacs = %(pacs)s) as is_listed,
       newest.reason_code as absent
  from expectation e
  left join lateral (select p.is_held
                       from instance_presence p join sweep_run r using (run_id)
                      where p.window_key = e.window_key and p.sop_instance_uid = e.sop_instance_uid
                        and r.pacs = %(pacs)s
                      order by p.presence_id desc limit 1) mine on true
  left join lateral (select p.reason_code
                       from instance_presence p
                      where p.window_key = e.window_key and p.sop_instance_uid = e.sop_instance_uid
                      order by p.presence_id desc limit 1) newest on true
 where e.study_instance_uid = %(study)s
