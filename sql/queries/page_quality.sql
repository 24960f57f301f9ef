-- Which quality rules are broken, worst first, with what they were when they last ran. Parameter: window_key.
select f.rule, f.severity, f.level,
       count(*)                             as findings,
       count(distinct f.study_instance_uid) as studies,
       max(f.found_at)                      as found_at,
       coalesce(r.why, '')                  as why,
       coalesce(r.advice, 'See the Data Docs.') as advice
  from quality_finding f
  left join quality_rule r using (rule)
 where f.window_key = %(window_key)s
 group by f.rule, f.severity, f.level, r.why, r.advice
 order by array_position(array['stop', 'quarantine', 'warn'], f.severity), count(*) desc, f.rule
