-- How far a request is, in one look: instances by step, and what is held or left out and why.
-- What was here before anybody asked was expected in no window, so the frozen version and the list's studies count besides.
-- Parameters: kind, window_key, version_id, list_id, project, profile.
with newest as (
    select release_id, version, bucket, prefix, started_at, verified_at, published_at, cohort_version_id
      from release
     where project = %(project)s and window_key = %(window_key)s
       and coalesce(preset = %(profile)s, true)   -- of before there was a choice it is not known
     order by release_id desc limit 1
), here as (
    select c.sop_instance_uid
      from cohort_instance c
     where c.version_id = coalesce(%(version_id)s, (select cohort_version_id from newest)) and %(kind)s <> 'list'
    union all
    select i.sop_instance_uid
      from instance i
     where %(kind)s = 'list'
       and i.study_instance_uid in (select study_instance_uid from cohort_list_study where list_id = %(list_id)s)
), member as (
    select sop_instance_uid, max(received_at) as received_at, max(indexed_at) as indexed_at, max(checked_at) as checked_at
      from (select sop_instance_uid, received_at, indexed_at, checked_at
              from ledger_of_window(%(window_key)s) where %(kind)s <> 'version'
            union all
            select here.sop_instance_uid, r.received_at, i.indexed_at, q.checked_at
              from here
              join instance i using (sop_instance_uid)
              left join receipt r using (sop_instance_uid)
              left join quality_check q using (sop_instance_uid)) known
     group by sop_instance_uid
), far as (
    select m.*, newest.release_id is not null as prepared, s.sop_instance_uid is not null as selected, s.held_reason,
           s.held_reason is null and o.uploaded_at is not null and not gone.is_recalled as exported, gone.is_recalled
      from member m
      left join newest on true
      left join release_member s on s.release_id = newest.release_id and s.sop_instance_uid = m.sop_instance_uid
      left join released_object o on o.release_id = newest.release_id and o.sop_instance_uid = m.sop_instance_uid
                                 and o.kind = 'dicom'
      cross join lateral (select exists (select from recall_object r where r.release_id = o.release_id
                                                                       and r.object_key = o.object_key)) gone(is_recalled)
), why as (
    select coalesce(f.held_reason, case when f.is_recalled then 'opted-out' end, g.reason_code) as reason_code,
           count(*) as instances
      from far f
      left join lateral (select reason_code from gap
                          where not f.selected and gap.sop_instance_uid = f.sop_instance_uid and gap.step = 'released'
                          order by gap_id desc limit 1) g on true
     where f.prepared and f.indexed_at is not null and not f.exported and (f.held_reason is not null or f.is_recalled or not f.selected)
     group by 1
)
select count(*) as found, count(received_at) as received, count(indexed_at) as extracted, count(checked_at) as checked,
       count(*) filter (where selected) as selected, count(*) filter (where exported) as exported,
       count(held_reason) as held,
       (select coalesce(jsonb_agg(jsonb_build_object('reason_code', why.reason_code, 'instances', why.instances,
                                                     'meaning', reason.meaning, 'advice', reason.advice)
                                  order by why.instances desc), '[]')
          from why left join reason using (reason_code)) as why,
       (select to_jsonb(newest) from newest) as release
  from far
