-- The newest word of each person about each state of a release.
select distinct on (digest, decided_by) digest, decided_by, verdict, reason, decided_at
  from release_approval
 where release_id = %(release_id)s
 order by digest, decided_by, approval_id desc
