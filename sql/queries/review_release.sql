-- A release as the head of its review shows it.
select r.release_id, r.project, r.version, r.window_key, r.profile, r.bucket, r.prefix, r.started_at, r.verified_at,
       r.published_at, r.approvals_needed, r.approvers, r.requested_by, v.opened_at, v.digest as shown,
       to_jsonb(r) -> 'anonymity_report' as anonymity, r.anonymity as asked_anonymity,
       (select count(distinct p.sop_instance_uid) from release_member m join pixel_screening p using (sop_instance_uid)
         where m.release_id = r.release_id and p.failed is null) as searched,
       (select coalesce(sum(bytes), 0)::bigint from released_object o
         where o.release_id = r.release_id and o.uploaded_at is not null) as bytes,
       (select max(version) from release before
         where before.project = r.project and before.published_at is not null
           and before.release_id <> r.release_id) as published_version
  from release r
  left join release_review v using (release_id)
 where r.release_id = %(release_id)s
