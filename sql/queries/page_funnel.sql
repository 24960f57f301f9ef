-- How far the instances of a window came. Parameter: window_key. No row when nothing is known of the window yet.
select f.*,
       s.complete_studies,
       b.bytes,
       b.pushed,
       q.found_at as checked_at
  from window_funnel f
  cross join lateral (select count(*) as complete_studies
                        from (select study_instance_uid
                                from instance_ledger
                               where window_key = f.window_key
                               group by study_instance_uid
                              having bool_and(received_at is not null)) complete) s
  cross join lateral (select coalesce(sum(r.bytes), 0)::bigint             as bytes,
                             count(*) filter (where r.source = 'push')     as pushed
                        from window_member m join receipt r using (sop_instance_uid)
                       where m.window_key = f.window_key) b
  cross join lateral (select max(checked_at) as found_at from quality_check where window_key = f.window_key) q
 where f.window_key = %(window_key)s
