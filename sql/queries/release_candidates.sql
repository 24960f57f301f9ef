-- Every indexed instance of a window, or of a frozen cohort's version, or of the studies that a researcher's list stands
-- for, with what decides whether a project may release it. What the project does not ask for stands in the temporary
-- table `missed` (sluice.release.chosen).
with chosen as (
    select sop_instance_uid from cohort_instance where version_id = %(version_id)s
    union all
    select sop_instance_uid
      from instance
     where study_instance_uid in (select study_instance_uid from cohort_list_study where list_id = %(list_id)s)
), member as (
    select sop_instance_uid, study_instance_uid, series_instance_uid, receipt_id, modality, checked_at
      from instance_ledger
     where window_key = %(window_key)s and indexed_at is not null
       and %(version_id)s::bigint is null and %(list_id)s::bigint is null
    union all
    select sop_instance_uid, i.study_instance_uid, i.series_instance_uid, r.receipt_id, s.modality, q.checked_at
      from chosen
      join instance i using (sop_instance_uid)
      join receipt r using (sop_instance_uid)
      join series s on s.series_instance_uid = i.series_instance_uid
      left join quality_check q using (sop_instance_uid)
), patients as (
    select study_instance_uid, count(distinct coalesce(patient_id, '')) as patient_ids
      from instance
     where study_instance_uid in (select study_instance_uid from member)
     group by study_instance_uid
), opted as (
    select distinct sop_instance_uid from opted_out_instance
     where projects is null or %(project)s = any (projects)
), held as (
    -- Each way an object can be held by itself: the held are few, so each is one small hash table.
    select sop_instance_uid, max(severity) as severity, string_agg(distinct rule, ', ' order by rule) as rules
      from (select m.sop_instance_uid, h.severity, h.rule
              from quality_held h join member m on h.level = 'instance' and m.sop_instance_uid = h.object
            union all
            select m.sop_instance_uid, h.severity, h.rule
              from quality_held h join member m on h.level = 'series' and m.series_instance_uid = h.object
            union all
            select m.sop_instance_uid, h.severity, h.rule
              from quality_held h join member m on h.level = 'study' and m.study_instance_uid = h.object
            union all
            select m.sop_instance_uid, h.severity, h.rule
              from quality_held h
              join window_instance w on h.level = 'window' and w.window_key = h.object
              join member m on m.sop_instance_uid = w.sop_instance_uid) by_object
     group by sop_instance_uid   -- 'stop' sorts after 'quarantine'
)
select m.sop_instance_uid, m.receipt_id, m.modality, i.sop_class_uid,
       m.checked_at is not null  as checked,
       p.patient_ids,
       i.block_id is not null    as has_block,
       opted.sop_instance_uid is not null or exists (select from opt_out_in_force
                                                      where kind = 'project' and project = %(project)s) as opted_out,
       missed.words              as missed,
       exists (select from canary_instance c
                where c.sop_instance_uid = m.sop_instance_uid) as is_canary,
       held.severity             as quality_severity,
       held.rules                as quality_rules
  from member m
  join instance i using (sop_instance_uid)
  left join patients p on p.study_instance_uid = m.study_instance_uid
  left join opted using (sop_instance_uid)
  left join missed using (sop_instance_uid)
  left join held using (sop_instance_uid)
 order by m.receipt_id
