-- What a commitment request names, and what the ledger holds of it.
select c.position, c.sop_class_uid, c.sop_instance_uid, r.sop_class_uid as kept_class, r.bytes, r.path
  from commitment_reference c
  left join receipt r using (sop_instance_uid)
 where c.request_id = %(request_id)s
 order by c.position;
