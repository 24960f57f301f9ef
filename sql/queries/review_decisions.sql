-- Decisions that stand for the project of a release, newest first.
select u.rule_id, u.project, u.path, u.string_id, s.value, u.decision, u.reason, u.decided_by, u.decided_at
  from release r
  join standing_rule u on u.project is null or u.project = r.project
  left join retained_string s using (string_id)
 where r.release_id = %(release_id)s and u.decision in ('remove', 'hold')
 order by u.rule_id desc
 limit 500
