-- Instances that are expected in a window, are listed there still and have not been received, with the size of their
-- series and study there. Parameters: window_key; study_uids, null for all.
select e.sop_instance_uid,
       e.series_instance_uid,
       e.study_instance_uid,
       e.sop_class_uid,
       count(*) over (partition by e.study_instance_uid)                          as missing_in_study,
       count(*) over (partition by e.study_instance_uid, e.series_instance_uid)   as missing_in_series,
       of_study.expected                                                          as expected_in_study,
       of_series.expected                                                         as expected_in_series
  from expectation e
  join (select study_instance_uid, count(*) as expected
          from expectation
         where window_key = %(window_key)s
           and (%(study_uids)s::text[] is null or study_instance_uid = any (%(study_uids)s::text[]))
         group by 1) of_study using (study_instance_uid)
  join (select study_instance_uid, series_instance_uid, count(*) as expected
          from expectation
         where window_key = %(window_key)s
           and (%(study_uids)s::text[] is null or study_instance_uid = any (%(study_uids)s::text[]))
         group by 1, 2) of_series
       using (study_instance_uid, series_instance_uid)
 where e.window_key = %(window_key)s
   and (%(study_uids)s::text[] is null or e.study_instance_uid = any (%(study_uids)s::text[]))
   and not exists (select from receipt r where r.sop_instance_uid = e.sop_instance_uid)
   and not exists (select from instance_absent a
                    where a.window_key = e.window_key and a.sop_instance_uid = e.sop_instance_uid)
 order by e.study_instance_uid, e.series_instance_uid, e.sop_instance_uid
