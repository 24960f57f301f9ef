-- Every indexed instance of a window with what decides whether a project may release it.
with member as (
    select sop_instance_uid, study_instance_uid, series_instance_uid, receipt_id, modality, checked_at
      from instance_ledger
     where window_key = %(window_key)s and indexed_at is not null
), patients as (
    select study_instance_uid, count(distinct coalesce(patient_id, '')) as patient_ids
      from instance
     where study_instance_uid in (select study_instance_uid from member)
     group by study_instance_uid
), body_part as (
    select distinct on (sop_instance_uid) sop_instance_uid, label
      from prediction
     where task = 'body_part' and sop_instance_uid in (select sop_instance_uid from member)
     order by sop_instance_uid, predicted_at desc
)
select m.sop_instance_uid, m.receipt_id, m.modality, i.sop_class_uid,
       m.checked_at is not null  as checked,
       p.patient_ids,
       h.region_key              as region,
       b.label                   as body_part,
       exists (select from quality_finding f
                where f.severity = 'stop'
                  and (f.sop_instance_uid = m.sop_instance_uid
                       or (f.level = 'series' and f.series_instance_uid = m.series_instance_uid)
                       or (f.level = 'study' and f.study_instance_uid = m.study_instance_uid))) as quality_stop
  from member m
  join instance i using (sop_instance_uid)
  left join patients p on p.study_instance_uid = m.study_instance_uid
  left join header_anatomy h on h.series_instance_uid = m.series_instance_uid
  left join body_part b using (sop_instance_uid)
 order by m.receipt_id
