-- Films that people labelled here so that training may take them: adjudicated, agreed, and by a single reader where that is
-- enough; none that was unclear, none of whom nobody may use, and only such as are decoded. Parameters: task, single.
select v.sop_instance_uid, v.label, v.examined, v.visible, v.standing as origin, v.reader_names, v.adjudicator,
       i.patient_age_years, case when st.patient_id <> '' then st.patient_key::text end as patient
  from annotation_verdict v
  join instance i on i.sop_instance_uid = v.sop_instance_uid
  join study st on st.study_instance_uid = i.study_instance_uid
  join canonical_image c on c.sop_instance_uid = i.sop_instance_uid and c.shard_id is not null
 where v.task = %(task)s
   and (v.standing in ('adjudicated', 'agreed') or (v.standing = 'single' and %(single)s))
   and v.label <> 'unclear'
   and i.sop_instance_uid not in (select o.sop_instance_uid from opted_out_instance o where o.projects is null)
 order by v.sop_instance_uid
