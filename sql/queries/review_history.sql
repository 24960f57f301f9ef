-- Who said what of a release, in the order it was said.
select decided_by, verdict, reason, decided_at, digest
  from release_approval
 where release_id = %(release_id)s
 order by approval_id
