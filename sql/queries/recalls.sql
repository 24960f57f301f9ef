-- Recalls with their state, newest first. Parameters: recall_id, or null for all; overdue, whether only those.
select s.*,
       (select coalesce(jsonb_agg(jsonb_build_object('recipient', t.recipient, 'contact', t.contact, 'basis', t.basis,
                                                     'acknowledged_at', a.acknowledged_at, 'note', a.note)
                                  order by t.basis, t.recipient), '[]')
          from recall_recipient t left join recall_acknowledgement a using (recall_id, recipient)
         where t.recall_id = s.recall_id) as who
  from recall_state s
 where (%(recall_id)s::bigint is null or s.recall_id = %(recall_id)s) and (not %(overdue)s or s.is_overdue)
 order by s.recall_id desc
