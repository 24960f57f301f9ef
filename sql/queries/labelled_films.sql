-- Films of this site that people labelled, as far as they are decoded. Parameter: uids.
select i.sop_instance_uid, i.patient_age_years, case when st.patient_id <> '' then st.patient_key::text end as patient
  from instance i
  join study st on st.study_instance_uid = i.study_instance_uid
  join canonical_image c on c.sop_instance_uid = i.sop_instance_uid and c.shard_id is not null
 where i.sop_instance_uid = any(%(uids)s)
   and i.sop_instance_uid not in (select o.sop_instance_uid from opted_out_instance o where o.projects is null)
 order by i.sop_instance_uid
