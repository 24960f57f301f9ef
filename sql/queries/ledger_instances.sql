-- Of each instance that a question is about: was it expected, by which query and when; did it arrive, from whom, as
-- what; if not why, and when will it be tried again. A page at a time, in the order of UIDs.
-- Parameters: window_key, pacs, study, series, instance, accession, patient (each may be null), missing_only,
-- after (study, series and SOP Instance UID of the last row before, joined by spaces; '' at first), page_size.
with asked as materialized (
    select a.*, concat_ws(' ', coalesce(a.study_instance_uid, ''), coalesce(a.series_instance_uid, ''),
                          a.sop_instance_uid) as position
      from asked_instances(%(window_key)s, %(pacs)s, %(study)s, %(series)s, %(instance)s, %(accession)s,
                           %(patient)s) a
), page as materialized (
    select a.*
      from asked a
     where a.position collate "C" > %(after)s
       and (not %(missing_only)s
            or (a.expected_at is not null
                and not exists (select from receipt r where r.sop_instance_uid = a.sop_instance_uid)))
     order by a.position collate "C"
     limit %(page_size)s
)
select a.position,
       a.study_instance_uid, a.series_instance_uid, a.sop_instance_uid, a.modality, a.windows, a.pacs, a.expected_at,
       (select jsonb_agg(jsonb_build_object('window', e.window_key, 'pacs', e.pacs, 'expected_at', e.expected_at,
                                            'level', l.level, 'query', l.identifier, 'asked_at', l.asked_at)
                         order by e.expected_at)
          from expectation e left join sweep_leaf l using (leaf_id)
         where e.sop_instance_uid = a.sop_instance_uid)                                  as expected_by,
       r.received_at, r.source, r.calling_ae, r.called_ae, r.peer, r.association, r.bytes, r.sha256, r.path,
       r.transfer_syntax_uid,
       case when r.sop_instance_uid is null then m.reason_code end                       as reason_code,
       reason.meaning, reason.advice, m.detail, m.status,
       coalesce(m.attempts, 0)                                                           as attempts,
       m.last_attempt_at, m.last_pacs, m.last_kind, m.next_attempt_at, m.next_pacs,
       i.indexed_at,
       (select jsonb_agg(jsonb_build_object('at', q.quarantined_at, 'reason_code', q.reason_code, 'detail', q.detail,
                                            'path', q.path) order by q.quarantined_at)
          from quarantine q where q.sop_instance_uid = a.sop_instance_uid)               as quarantined,
       (select jsonb_agg(jsonb_build_object('at', c.received_at, 'calling_ae', c.calling_ae, 'bytes', c.bytes,
                                            'sha256', c.sha256, 'path', c.path) order by c.received_at)
          from receipt_conflict c where c.sop_instance_uid = a.sop_instance_uid)         as other_contents
  from page a
  left join receipt r on r.sop_instance_uid = a.sop_instance_uid
  left join instance i on i.sop_instance_uid = a.sop_instance_uid
  left join lateral (select *
                       from missing_instance m
                      where m.sop_instance_uid = a.sop_instance_uid
                        and (%(window_key)s is null or m.window_key = %(window_key)s)
                      order by m.next_attempt_at, m.window_key
                      limit 1) m on true
  left join reason on reason.reason_code = m.reason_code
 order by a.position collate "C"
