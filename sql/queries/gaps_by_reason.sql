-- What is missing in a window, by step and reason, with what a person can do about it. Parameter: window_key.
select of_study.step,
       of_study.reason_code,
       sum(of_study.instances)::bigint as instances,
       count(*)                        as studies,
       reason.meaning,
       reason.advice
  from (select step, reason_code, study_instance_uid, count(*) as instances
          from open_gap
         where window_key = %(window_key)s
         group by step, reason_code, study_instance_uid) of_study
  join reason using (reason_code)
 group by of_study.step, of_study.reason_code, reason.meaning, reason.advice
 order by array_position(array['received', 'indexed', 'checked', 'predicted', 'released'], of_study.step),
          sum(of_study.instances) desc, of_study.reason_code
