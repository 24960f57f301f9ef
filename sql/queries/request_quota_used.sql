-- What a project asked for in the last 30 days besides this cohort; of each cohort its newest request under each
-- profile counts. Parameters: project, window_key, profile.
select coalesce(sum(instances), 0)::bigint as instances, coalesce(sum(bytes), 0)::bigint as bytes
  from (select distinct on (window_key, profile) instances, bytes
          from cohort_request
         where project = %(project)s and (window_key, profile) <> (%(window_key)s, %(profile)s) and asked_at > now() - interval '30 days'
         order by window_key, profile, request_id desc) newest
