-- The key that signs the house's releases: the one that signed last, or that a person announced since.
select key_id
  from (select signed_by as key_id, max(published_at) as since from release where signed_by is not null group by signed_by
        union all
        select key_id, announced_at from signing_key) known
 order by since desc
 limit 1
