-- Canaries of a release's project that were there when it began.
select c.canary_id, c.patient_id, c.issuer, c.tokens
  from release r
  join canary c on c.project = r.project and c.added_at <= r.started_at
                and (c.retired_at is null or c.retired_at > r.started_at)
 where r.release_id = %(release_id)s
 order by c.canary_id
