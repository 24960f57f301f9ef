-- Patients with a filter: first and last seen, how long it dwells, when its retrieval is due. Later films that were
-- looked at and show none are `without_since`. Parameters: today, due_days, state or null for all, patient or null.
with seen as (
    select patient, min(seen_on) as first_seen, max(seen_on) as last_seen, count(*) as images,
           count(distinct study_instance_uid) as studies, max(score) as best_score,
           bool_or(said = 'confirmed') as image_confirmed, min(study_instance_uid) as a_study
      from ivc_filter_sighting
     where said is distinct from 'not_a_filter'
     group by patient
),
rejected as (
    select patient, count(*) as images, min(study_instance_uid) as a_study, min(seen_on) as first_seen,
           max(seen_on) as last_seen
      from ivc_filter_sighting
     where said = 'not_a_filter'
     group by patient
),
known as (
    select coalesce(seen.patient, rejected.patient) as patient,
           coalesce(seen.a_study, rejected.a_study) as a_study,
           coalesce(seen.first_seen, rejected.first_seen) as first_seen,
           coalesce(seen.last_seen, rejected.last_seen) as last_seen,
           coalesce(seen.images, 0) as images, coalesce(seen.studies, 0) as studies, seen.best_score,
           coalesce(rejected.images, 0) as rejected_images,
           seen.patient is not null as is_seen,
           coalesce(seen.image_confirmed, false) or said.kind in ('confirmed', 'retrieved') as is_confirmed,
           said.retrieved_on, said.kind as said, said.by as said_by, said.at as said_at, said.note
      from seen
      full join rejected using (patient)
      left join ivc_filter_said said on said.patient = coalesce(seen.patient, rejected.patient)
                                    and said.sop_instance_uid is null and said.kind <> 'withdrawn'
),
judged as (
    select known.*,
           case when not is_seen then 'rejected'
                when retrieved_on is not null and last_seen > retrieved_on then 'seen after retrieval'
                when retrieved_on is not null then 'retrieved'
                when first_seen + %(due_days)s::integer <= %(today)s::date then 'due'
                else 'dwelling' end as state
      from known
)
select j.patient, st.patient_id, st.patient_id_issuer, j.state, coalesce(j.is_confirmed, false) as is_confirmed,
       j.first_seen, j.last_seen,
       case when j.is_seen then coalesce(j.retrieved_on, %(today)s::date) - j.first_seen end as dwell_days,
       case when j.is_seen then j.first_seen + %(due_days)s::integer end as due_on,
       j.retrieved_on, j.images, j.studies, j.rejected_images, j.best_score, w.without_since,
       j.said, j.said_by, j.said_at, j.note
  from judged j
  join study st on st.study_instance_uid = j.a_study
  left join lateral (select min(coalesce(o.study_date, i.acquired_at::date)) as without_since
                       from study o
                       join instance i on i.study_instance_uid = o.study_instance_uid
                       join prediction_in_use p on p.sop_instance_uid = i.sop_instance_uid
                                               and p.task = 'ivc_filter' and p.label = 'absent'
                      where o.patient_key = st.patient_key
                        and coalesce(o.study_date, i.acquired_at::date) > j.last_seen) w on true
 where (%(state)s::text is null or j.state = %(state)s)
   and (%(patient)s::text is null or j.patient = %(patient)s)
 order by array_position(array['seen after retrieval', 'due', 'dwelling', 'retrieved', 'rejected'], j.state),
          j.first_seen nulls last, j.patient
