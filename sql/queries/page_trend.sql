-- Findings of day windows by rule and day, from the day aggregates. Parameters: since, until, scanner (null: all).
select t.rule, t.day, max(t.severity) as severity, sum(t.findings)::integer as findings
  from quality_trend t
  join sweep_window w on w.window_key = t.window_key and w.kind = 'day'
 where t.day between %(since)s and %(until)s
   and (%(scanner)s::text is null or t.scanner = %(scanner)s)
 group by t.rule, t.day
 order by t.rule, t.day
