-- The end of an attempt: what has arrived by now, and why the rest has not. Parameters: attempt_id, wanted, reason_code.
update attempt a
   set arrived     = s.arrived,
       bytes       = s.bytes,
       reason_code = %(reason_code)s,
       finished_at = now()
  from (select count(*) as arrived, coalesce(sum(r.bytes) filter (where r.received_at >= b.started_at), 0) as bytes
          from attempt b
          left join receipt r on r.sop_instance_uid = any (%(wanted)s::text[])
         where b.attempt_id = %(attempt_id)s and r.sop_instance_uid is not null) s
 where a.attempt_id = %(attempt_id)s
