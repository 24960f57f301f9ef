-- The same answer for each series that a question is about: how many instances were expected, how many came, why the
-- others did not, and when they will be tried again. A page at a time, in the order of UIDs.
-- Parameters: as of `ledger_instances`; after is the `position` of the last row before, '' at first.
with asked as materialized (
    select a.*, r.received_at, r.bytes, r.source, r.calling_ae
      from asked_instances(%(window_key)s, %(pacs)s, %(study)s, %(series)s, %(instance)s, %(accession)s,
                           %(patient)s) a
      left join receipt r on r.sop_instance_uid = a.sop_instance_uid
     where a.study_instance_uid is not null
), page as materialized (
    select a.study_instance_uid, a.series_instance_uid,
           concat_ws(' ', a.study_instance_uid, a.series_instance_uid) as position,
           min(a.modality)                                                      as modality,
           count(a.expected_at)                                                 as expected,
           count(a.received_at)                                                 as received,
           count(*) filter (where a.expected_at is not null and a.received_at is null) as missing,
           count(*) filter (where a.expected_at is null)                        as unexpected,
           min(a.expected_at)                                                   as expected_at,
           min(a.received_at)                                                   as first_received_at,
           max(a.received_at)                                                   as last_received_at,
           coalesce(sum(a.bytes), 0)::bigint                                    as bytes,
           array_agg(distinct a.source) filter (where a.source is not null)     as sources
      from asked a
     group by a.study_instance_uid, a.series_instance_uid
    having concat_ws(' ', a.study_instance_uid, a.series_instance_uid) collate "C" > %(after)s
       and (not %(missing_only)s or bool_or(a.expected_at is not null and a.received_at is null))
     order by concat_ws(' ', a.study_instance_uid, a.series_instance_uid) collate "C"
     limit %(page_size)s
), why as (
    select a.study_instance_uid, a.series_instance_uid, m.reason_code, count(*) as instances, max(m.attempts) as attempts,
           max(m.last_attempt_at) as last_attempt_at, min(m.next_attempt_at) as next_attempt_at
      from page
      join asked a using (study_instance_uid, series_instance_uid)
      cross join lateral (select m.reason_code, m.attempts, m.last_attempt_at, m.next_attempt_at
                            from missing_instance m
                           where m.sop_instance_uid = a.sop_instance_uid
                             and (%(window_key)s is null or m.window_key = %(window_key)s)
                           order by m.next_attempt_at, m.window_key
                           limit 1) m
     where a.received_at is null and a.expected_at is not null
     group by a.study_instance_uid, a.series_instance_uid, m.reason_code
), reasons as (
    select why.study_instance_uid, why.series_instance_uid, jsonb_object_agg(why.reason_code, why.instances) as reasons,
           max(why.attempts) as attempts, max(why.last_attempt_at) as last_attempt_at,
           min(why.next_attempt_at) as next_attempt_at
      from why
     group by why.study_instance_uid, why.series_instance_uid
)
select page.*, coalesce(reasons.reasons, '{}') as reasons, coalesce(reasons.attempts, 0) as attempts,
       reasons.last_attempt_at, reasons.next_attempt_at,
       (select array_agg(distinct e.window_key)
          from expectation e where e.study_instance_uid = page.study_instance_uid) as windows
  from page
  left join reasons using (study_instance_uid, series_instance_uid)
 order by page.position collate "C"
