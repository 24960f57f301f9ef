-- Who has, or had, an inferior vena cava filter by what the detector sees: from sightings to a date by which somebody
-- should ask for its retrieval. What people correct is appended; the rest is computed from predictions.

-- A patient as this registry names one: the number that a Patient ID with its issuer has; a study without an ID is a
-- patient of its own.
create function ivc_filter_patient(patient_key bigint, study_instance_uid text) returns text
    language sql immutable parallel safe as $$ select coalesce(patient_key::text, 'study:' || study_instance_uid) $$;

create table ivc_filter_correction (
    correction_id    bigint generated always as identity primary key,
    patient          text not null,               -- as ivc_filter_patient() names one
    sop_instance_uid text,                        -- null: the patient as a whole
    kind             text not null check (kind in ('confirmed', 'not_a_filter', 'retrieved', 'withdrawn')),
    retrieved_on     date,
    note             text not null default '',    -- for colleagues; no patient's name
    by               text not null,
    at               timestamptz not null default now(),
    check ((kind = 'retrieved') = (retrieved_on is not null)),
    check (kind <> 'retrieved' or sop_instance_uid is null),
    check (kind <> 'not_a_filter' or sop_instance_uid is not null)
);
create index on ivc_filter_correction (patient, correction_id desc);
create index on ivc_filter_correction (sop_instance_uid);
create index prediction_ivc_filter on prediction (sop_instance_uid) where task = 'ivc_filter' and label = 'present';

-- What people said last of an image, and of a patient as a whole. `withdrawn` takes back what was said before.
create view ivc_filter_said as
    select distinct on (patient, sop_instance_uid) *
      from ivc_filter_correction
     order by patient, sop_instance_uid, correction_id desc;

-- Images that show a filter: those that the model in production says, and those that a person says.
create view ivc_filter_sighting as
    select ivc_filter_patient(st.patient_key, i.study_instance_uid) as patient,
           i.sop_instance_uid, i.study_instance_uid,
           coalesce(st.study_date, i.acquired_at::date) as seen_on,
           p.model_id, p.score, coalesce(p.detail -> 'boxes', '[]') as boxes,
           s.kind as said, s.by as said_by, s.at as said_at, s.note
      from instance i
      join study st on st.study_instance_uid = i.study_instance_uid
      left join prediction_in_use p on p.sop_instance_uid = i.sop_instance_uid and p.task = 'ivc_filter'
                                   and p.label = 'present'
      left join ivc_filter_said s on s.sop_instance_uid = i.sop_instance_uid
     where i.sop_instance_uid in (select sop_instance_uid from prediction
                                   where task = 'ivc_filter' and label = 'present'
                                  union all
                                  select sop_instance_uid from ivc_filter_correction where kind = 'confirmed')
       and (p.model_id is not null or s.kind = 'confirmed');
