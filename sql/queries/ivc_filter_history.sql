-- What people said of a patient's filter, newest first. Parameter: patient.
select kind, sop_instance_uid, retrieved_on, note, by, at
  from ivc_filter_correction
 where patient = %(patient)s
 order by correction_id desc
