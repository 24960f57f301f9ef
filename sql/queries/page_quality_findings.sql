-- Which objects break a rule. Parameters: window_key, rule.
select f.level, f.object, f.study_instance_uid, f.series_instance_uid, f.sop_instance_uid, f.observed, s.modality,
       f.scanner
  from quality_finding f
  left join series s using (series_instance_uid)
 where f.window_key = %(window_key)s and f.rule = %(rule)s
 order by f.study_instance_uid, f.series_instance_uid, f.sop_instance_uid, f.finding_id
 limit 200
