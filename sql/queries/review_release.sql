-- A release as the head of its review shows it.
select r.release_id, r.project, r.version, r.window_key, r.profile, r.bucket, r.prefix, r.started_at, r.verified_at,
       r.published_at, r.approvals_needed, r.approvers, r.requested_by, v.opened_at, v.digest as shown,
       to_jsonb(r) -> 'anonymity_report' as anonymity, r.anonymity as asked_anonymity, o.objects, o.bytes,
       (select max(version) from release before
         where before.project = r.project and before.published_at is not null
           and before.release_id <> r.release_id) as published_version
  from release r
  left join release_review v using (release_id)
  cross join lateral (select count(*) filter (where kind = 'dicom') as objects, coalesce(sum(bytes), 0)::bigint as bytes
                        from released_object
                       where released_object.release_id = r.release_id and uploaded_at is not null) o
 where r.release_id = %(release_id)s
