-- Why instances that a question is about did not arrive, by reason, with what a person can do about it.
-- Parameters: window_key, pacs, study, series, instance, accession, patient (each may be null).
with asked as materialized (
    select *
      from asked_instances(%(window_key)s, %(pacs)s, %(study)s, %(series)s, %(instance)s, %(accession)s, %(patient)s)
), absent as materialized (
    select a.study_instance_uid, a.sop_instance_uid
      from asked a
     where a.expected_at is not null
       and not exists (select from receipt r where r.sop_instance_uid = a.sop_instance_uid)
), missing as (
    select a.study_instance_uid, m.reason_code, m.last_attempt_at, m.next_attempt_at
      from absent a
      cross join lateral (select m.reason_code, m.last_attempt_at, m.next_attempt_at
                            from missing_instance m
                           where m.sop_instance_uid = a.sop_instance_uid
                             and (%(window_key)s is null or m.window_key = %(window_key)s)
                           order by m.next_attempt_at, m.window_key
                           limit 1) m
)
select m.reason_code, count(*) as instances, count(distinct m.study_instance_uid) as studies,
       max(m.last_attempt_at) as last_attempt_at, min(m.next_attempt_at) as next_attempt_at,
       reason.meaning, reason.advice
  from missing m join reason using (reason_code)
 group by m.reason_code, reason.meaning, reason.advice
 order by count(*) desc, m.reason_code
