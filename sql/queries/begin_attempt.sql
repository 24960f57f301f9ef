-- Writes an attempt and counts at once what has arrived of it. Answers attempt_id and the instances without a receipt.
-- Parameters: window_key, pacs, study, kind, wanted, completed, failed, warnings, status, reason_code, detail, started_at.
with came as (
    select w.uid, r.sop_instance_uid is not null as is_here,
           case when r.received_at >= %(started_at)s then r.bytes else 0 end as bytes
      from unnest(%(wanted)s::text[]) as w(uid)
      left join receipt r on r.sop_instance_uid = w.uid
), summed as (
    select count(*) filter (where is_here) as arrived,
           coalesce(sum(bytes), 0)         as bytes,
           array_agg(uid) filter (where not is_here) as missing
      from came
), written as (
    insert into attempt (window_key, pacs, study_instance_uid, kind, wanted, completed, failed, warnings, status,
                         reason_code, detail, started_at, arrived, bytes)
    select %(window_key)s, %(pacs)s, %(study)s, %(kind)s, cardinality(%(wanted)s::text[]), %(completed)s, %(failed)s,
           %(warnings)s, %(status)s, case when missing is null then null else %(reason_code)s end, %(detail)s,
           %(started_at)s, arrived, bytes
      from summed
    returning attempt_id
)
select written.attempt_id, summed.missing from written, summed
