-- What is missing in a window, by step and reason, with what a person can do about it. Parameter: window_key.
select open_gap.step,
       open_gap.reason_code,
       count(*)                                    as instances,
       count(distinct open_gap.study_instance_uid) as studies,
       reason.meaning,
       reason.advice
  from open_gap
  join reason using (reason_code)
 where open_gap.window_key = %(window_key)s
 group by open_gap.step, open_gap.reason_code, reason.meaning, reason.advice
 order by array_position(array['received', 'indexed', 'checked', 'predicted', 'released'], open_gap.step),
          count(*) desc, open_gap.reason_code
