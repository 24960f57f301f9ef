-- What a project asked for in the last 30 days besides this cohort; of each cohort its newest request counts.
-- Parameters: project, window_key.
select coalesce(sum(instances), 0)::bigint as instances, coalesce(sum(bytes), 0)::bigint as bytes
  from (select distinct on (window_key) instances, bytes
          from cohort_request
         where project = %(project)s and window_key <> %(window_key)s and asked_at > now() - interval '30 days'
         order by window_key, request_id desc) newest
