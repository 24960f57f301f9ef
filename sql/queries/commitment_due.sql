-- Commitment requests that somebody has to be told about now, the longest waiting first; locked, so that of several
-- receivers one does it. The delay doubles from %(first_delay_s)s with each try, up to %(most_delay_s)s.
with waiting as (
    select q.request_id, count(p.report_id) as tries, max(p.tried_at) as last_tried_at
      from commitment_request q
      left join commitment_report p using (request_id)
     where not exists (select from commitment_report c
                        where c.request_id = q.request_id and c.outcome in ('delivered', 'given-up'))
     group by q.request_id
)
select q.request_id, q.transaction_uid, q.calling_ae, q.called_ae, w.tries,
       extract(epoch from now() - q.requested_at)::float as age_s,
       exists (select from commitment_request o
                where o.calling_ae = q.calling_ae and o.transaction_uid = q.transaction_uid
                  and o.request_id < q.request_id and o.digest <> q.digest) as reused
  from commitment_request q
  join waiting w using (request_id)
 where w.tries = 0
    or now() >= w.last_tried_at
              + least(%(first_delay_s)s * 2 ^ least(w.tries - 1, 30), %(most_delay_s)s) * interval '1 second'
 order by coalesce(w.last_tried_at, q.requested_at), q.request_id
 limit %(most)s
   for update of q skip locked;
