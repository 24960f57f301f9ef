-- How far the instances of a window came. Parameter: window_key. No row when nothing is known of the window yet.
select f.*,
       (select max(q.checked_at) from quality_check q where q.window_key = f.window_key) as checked_at
  from window_funnel f
 where f.window_key = %(window_key)s
