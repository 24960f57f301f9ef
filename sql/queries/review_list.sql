-- Releases with where their review stands, newest first: those that wait for a person before all others.
select r.release_id, r.project, r.version, r.window_key, r.started_at, r.published_at, r.approvals_needed, r.approvers,
       (select count(*) from release_member m where m.release_id = r.release_id) as members,
       w.since                                                                  as waiting_since
  from release r
  left join review_waiting w using (release_id)
 order by w.since is null, r.release_id desc
 limit 200
