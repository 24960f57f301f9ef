-- Decisions about strings that stand for a project: those for all projects first, so that its own win.
select s.digest, r.path, r.decision
  from standing_rule r
  left join retained_string s using (string_id)
 where r.project is null or r.project = %(project)s
 order by r.project is not null
