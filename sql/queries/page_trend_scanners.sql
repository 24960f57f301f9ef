-- Findings of a rule by scanner and day, with how many objects of its level there were. Parameters: rule, since, until.
select t.scanner, t.day, sum(t.findings)::integer as findings, max(o.objects) as objects
  from quality_trend t
  join sweep_window w on w.window_key = t.window_key and w.kind = 'day'
  left join quality_rule r on r.rule = t.rule
  left join quality_objects o on o.window_key = t.window_key and o.scanner = t.scanner and o.level = r.level
 where t.rule = %(rule)s and t.day between %(since)s and %(until)s
 group by t.scanner, t.day
 order by t.scanner, t.day
