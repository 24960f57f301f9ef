-- Strings of a release, one page: what is new first, then what fewest patients have. Parameters: release_id, kind
-- (null: all), only_new, rare (fewer patients than so; null: all), decided (true: only those; null: all), words (null or
-- a part of value or path), first, page_size.
select b.string_id, s.path, s.vr, s.kind, s.value, b.objects, b.patients, b.example, b.is_new,
       d.decision, u.decided_by, u.decided_at, u.reason, u.project is null as for_all, u.string_id is null as for_path,
       count(*) over () as total
  from review_string b
  join release r using (release_id)
  join retained_string s using (string_id)
  left join decisions_for(r.project) d using (string_id)
  left join string_rule u on u.rule_id = d.rule_id
 where b.release_id = %(release_id)s
   and (%(kind)s::text is null or s.kind = %(kind)s)
   and (not %(only_new)s or (b.is_new and d.decision is distinct from 'keep'))
   and (%(rare)s::integer is null or b.patients < %(rare)s)
   and (%(decided)s::boolean is null or d.decision is not null)
   and (%(words)s::text is null or position(lower(%(words)s) in lower(s.value)) > 0
        or position(lower(%(words)s) in lower(s.path)) > 0)
 order by b.is_new desc, b.patients, s.path, s.value, b.string_id
 limit %(page_size)s offset %(first)s
