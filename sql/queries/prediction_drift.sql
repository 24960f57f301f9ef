-- What the model that serves a task said by station, in the days `[recent_from, until)` and in the reference
-- `[reference_from, recent_from)` before; the same model in both, by the day of the study. One row a station, period,
-- label and tenth of the score. Parameters: task, reference_from, recent_from, until.
select coalesce(s.station_name, s.device_serial_number, '') as station, p.model_id,
       st.study_date >= %(recent_from)s::date as is_recent, p.label,
       least(9, floor(p.score * 10))::integer as tenth, count(*) as films
  from model_serving m
  join study st on st.study_date >= %(reference_from)s::date and st.study_date < %(until)s::date
  join instance i on i.study_instance_uid = st.study_instance_uid
  join series s on s.series_instance_uid = i.series_instance_uid
  join prediction p on p.sop_instance_uid = i.sop_instance_uid and p.model_id = m.model_id
 where m.task = %(task)s
 group by 1, 2, 3, 4, 5
 order by 1, 3, 4, 5
