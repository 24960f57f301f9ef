-- Notes of each instance that is expected in a window and has not come that a person cancelled its retrieval
-- (reason 'cancelled') or wants it after all ('not-asked', only where it was cancelled before).
-- Parameters: window_key, reason, by.
insert into gap (sop_instance_uid, step, reason_code, detail)
select e.sop_instance_uid, 'received', %(reason)s,
       case %(reason)s when 'cancelled' then 'cancelled by ' else 'resumed by ' end || %(by)s
  from expectation e
  left join lateral (select reason_code
                       from gap
                      where gap.sop_instance_uid = e.sop_instance_uid and step = 'received'
                      order by gap_id desc limit 1) noted on true
 where e.window_key = %(window_key)s
   and not exists (select from receipt r where r.sop_instance_uid = e.sop_instance_uid)
   and case %(reason)s when 'cancelled' then noted.reason_code is distinct from 'cancelled'
                       else noted.reason_code = 'cancelled' end
