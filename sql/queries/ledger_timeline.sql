-- What happened to a study, in order: found, expected, asked, received, set aside, quarantined, read, and what is
-- planned. Parameter: study.
with expected as materialized (
    select sop_instance_uid, window_key, pacs, leaf_id, expected_at
      from expectation where study_instance_uid = %(study)s
), received as materialized (
    select sop_instance_uid, source, calling_ae, called_ae, peer, association, bytes, received_at
      from receipt where study_instance_uid = %(study)s
), known as materialized (
    select sop_instance_uid from expected union select sop_instance_uid from received
)
select * from (
    select f.first_found_at as at, 'found' as event, null::bigint as instances, f.window_key, f.pacs as who,
           null::text as what, null::text as reason_code, l.identifier as query
      from found_study f left join sweep_leaf l using (leaf_id)
     where f.study_instance_uid = %(study)s
    union all
    select min(e.expected_at), 'expected', count(*), e.window_key, e.pacs, null, null, null
      from expected e group by e.window_key, e.pacs
    union all
    select v.noted_at, v.event, null, v.window_key, v.pacs, null, null, null
      from study_event v where v.study_instance_uid = %(study)s
    union all
    select a.started_at, 'asked', a.wanted, a.window_key, a.pacs,
           concat_ws(', ', a.detail, a.arrived || ' of ' || a.wanted || ' arrived'), a.reason_code, null
      from attempt a where a.study_instance_uid = %(study)s
    union all
    select min(r.received_at), 'received', count(*), null, r.calling_ae,
           concat(r.source, ' from ', r.peer, ', association ', left(r.association::text, 8), ', ', sum(r.bytes), ' bytes'),
           null, null
      from received r group by r.source, r.calling_ae, r.peer, r.association
    union all
    select min(c.received_at), 'set aside', count(*), null, c.calling_ae, 'other content than the known one', null, null
      from receipt_conflict c join known using (sop_instance_uid) group by c.calling_ae
    union all
    select min(q.quarantined_at), 'quarantined', count(*), null, null, min(q.detail), q.reason_code, null
      from quarantine q join known using (sop_instance_uid) group by q.reason_code
    union all
    select min(i.indexed_at), 'header read', count(*), null, null, null, null, null
      from instance i where i.study_instance_uid = %(study)s having count(*) > 0
    union all
    select min(q.checked_at), 'quality checked', count(*), q.window_key, null, null, null, null
      from quality_check q join known using (sop_instance_uid) group by q.window_key
    union all
    select min(p.predicted_at), 'read by a model', count(*), null, p.model_id, null, null, null
      from prediction p join known using (sop_instance_uid) group by p.model_id
    union all
    select release.published_at, 'released', count(*), release.window_key,
           release.project || ' v' || release.version, null, null, null
      from released_object o join known using (sop_instance_uid) join release using (release_id)
     where release.published_at is not null and o.kind = 'dicom'
     group by release.release_id
    union all
    select w.ordered_at, 'retrieval ' || w.state, null, w.window_key, w.ordered_by, null, null, null
      from window_order w where w.window_key in (select window_key from expected)
    union all
    select p.due_at, 'next try', null, p.window_key, p.pacs, null, null, null
      from planned_attempt p where p.study_instance_uid = %(study)s
) told
 order by at, event
