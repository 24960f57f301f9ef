-- Whose an image is, as the registry of IVC filters names patients. Parameter: sop_instance_uid.
select ivc_filter_patient(st.patient_key, i.study_instance_uid) as patient
  from instance i
  join study st on st.study_instance_uid = i.study_instance_uid
 where i.sop_instance_uid = %(sop_instance_uid)s
