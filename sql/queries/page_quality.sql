-- Which quality rules are broken, worst first. Parameter: window_key.
select rule, severity, level,
       count(*)                           as findings,
       count(distinct study_instance_uid) as studies,
       max(found_at)                      as found_at
  from quality_finding
 where window_key = %(window_key)s
 group by rule, severity, level
 order by array_position(array['stop', 'quarantine', 'warn'], severity), count(*) desc, rule
