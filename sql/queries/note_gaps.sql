-- Notes why each instance that is expected in a window has not come, as the newest attempt shows it; what is noted
-- already is not noted again. Parameters: window_key, study_uids.
with missing as (
    select e.sop_instance_uid, e.study_instance_uid
      from expectation e
     where e.window_key = %(window_key)s
       and e.study_instance_uid = any (%(study_uids)s::text[])
       and not exists (select from receipt r where r.sop_instance_uid = e.sop_instance_uid)
), reasoned as (
    select m.sop_instance_uid,
           coalesce(own.reason_code, of_study.reason_code, 'not-asked') as reason_code,
           coalesce(own.detail, of_study.detail)                        as detail
      from missing m
      left join lateral (select am.reason_code, a.detail
                           from attempt_missing am join attempt a using (attempt_id)
                          where am.sop_instance_uid = m.sop_instance_uid
                          order by am.attempt_id desc limit 1) own on true
      left join lateral (select a.reason_code, a.detail
                           from attempt a
                          where a.window_key = %(window_key)s and a.study_instance_uid = m.study_instance_uid
                            and a.reason_code is not null
                          order by a.attempt_id desc limit 1) of_study on true
)
insert into gap (sop_instance_uid, step, reason_code, detail)
select r.sop_instance_uid, 'received', r.reason_code, r.detail
  from reasoned r
  left join lateral (select reason_code, detail
                       from gap
                      where gap.sop_instance_uid = r.sop_instance_uid and step = 'received'
                      order by gap_id desc limit 1) noted on true
 where (noted.reason_code, noted.detail) is distinct from (r.reason_code, r.detail)
