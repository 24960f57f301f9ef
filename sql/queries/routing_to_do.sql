-- Decisions that nothing came of yet, with the files. Parameters: destination, rule; window_key, null for any.
select d.decision_id, d.sop_instance_uid, r.path
  from routing_open d
  join receipt r using (sop_instance_uid)
 where d.destination = %(destination)s
   and d.rule = %(rule)s
   and (%(window_key)s::text is null or d.window_key = %(window_key)s)
 order by d.decision_id
