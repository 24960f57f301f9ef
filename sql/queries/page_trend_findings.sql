-- Findings of a rule in day windows, a page at a time, each with the newest decision about it.
-- Parameters: rule, since, until, scanner (null: all; '': none known), after (finding_id), page_size.
select f.finding_id, f.window_key, f.rule, f.severity, f.level, f.object, f.study_instance_uid,
       f.series_instance_uid, f.sop_instance_uid, f.scanner, f.observed, f.found_at,
       d.decision, d.reason, d.decided_by, d.decided_at
  from (select page.*
          from sweep_window w
          cross join lateral (
               select * from quality_finding f
                where f.window_key = w.window_key and f.rule = %(rule)s and f.finding_id > %(after)s
                  and (%(scanner)s::text is null or coalesce(f.scanner, '') = %(scanner)s)
                order by f.finding_id
                limit %(page_size)s) page
         where w.kind = 'day' and w.starts_on between %(since)s and %(until)s
         order by page.finding_id
         limit %(page_size)s) f
  left join lateral (select d.decision, d.reason, d.decided_by, d.decided_at
                       from quality_decision d
                      where d.rule = f.rule and d.level = f.level and d.object = f.object
                      order by d.decision_id desc limit 1) d on true
 order by f.finding_id
