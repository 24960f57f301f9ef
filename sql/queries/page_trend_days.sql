-- Days that were checked, with their instances and the scanners that made them. Parameters: since, until.
select o.day, o.scanner, sum(o.objects)::integer as instances
  from quality_objects o
  join sweep_window w on w.window_key = o.window_key and w.kind = 'day'
 where o.level = 'instance' and o.day between %(since)s and %(until)s
 group by o.day, o.scanner
 order by o.day, o.scanner
