-- What one sweep was answered: studies, and the series and instances that are listed in them, by whichever PACS named
-- them first. Parameters: run_id, window_key.
select (select count(*) from found_study where window_key = %(window_key)s and run_id = %(run_id)s) as studies,
       count(distinct e.series_instance_uid) as series,
       count(*)                              as instances
  from expectation e
  join found_study f on f.window_key = e.window_key and f.study_instance_uid = e.study_instance_uid
 where e.window_key = %(window_key)s
   and f.run_id = %(run_id)s
   and not exists (select from instance_absent a
                    where a.window_key = e.window_key and a.sop_instance_uid = e.sop_instance_uid)
