-- What the derivations of a release came to. Parameter: release_id.
select kind, reason_code, count(*) as number
  from release_derivation
 where release_id = %(release_id)s
 group by kind, reason_code
 order by kind, reason_code
