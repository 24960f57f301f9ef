-- Requests, newest first, of some projects or all. Parameters: projects (null: all), request_id (null: all), before, size.
select q.request_id, q.project, q.name, q.window_key, q.kind, q.list_id, q.version_id, q.formats, q.profile, q.instances,
       q.bytes, q.estimate, q.overridden_by, q.overridden_why, q.asked_by, q.asked_at,
       (select jsonb_agg(run_id order by noted_at desc) from cohort_request_run r where r.request_id = q.request_id) as runs
  from cohort_request q
 where (%(projects)s::text[] is null or q.project = any (%(projects)s))
   and (%(request_id)s::bigint is null or q.request_id = %(request_id)s)
   and (%(before)s::bigint is null or q.request_id < %(before)s)
 order by q.request_id desc
 limit %(size)s
