-- How many strings of a release each part of the page shows. Parameters: release_id, rare.
select count(*)                                                                      as "all",
       count(*) filter (where b.is_new and d.decision is distinct from 'keep')       as new,
       count(*) filter (where b.patients < %(rare)s)                                 as rare,
       count(*) filter (where s.kind = 'text')                                       as text,
       count(*) filter (where s.kind = 'code')                                       as code,
       count(*) filter (where s.kind = 'number')                                     as number,
       count(*) filter (where d.decision is not null)                                as decided
  from review_string b
  join release r using (release_id)
  join retained_string s using (string_id)
  left join decisions_for(r.project) d using (string_id)
 where b.release_id = %(release_id)s
