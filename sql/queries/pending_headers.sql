-- Received instances of a batch whose header is not in the database yet.
select r.receipt_id, r.sop_instance_uid, r.series_instance_uid, r.study_instance_uid, r.sop_class_uid,
       r.transfer_syntax_uid, r.path, r.sha256, r.bytes
  from receipt r
  join window_member m on m.sop_instance_uid = r.sop_instance_uid and m.window_key = %(window_key)s
 where r.receipt_id between %(first)s and %(last)s
   and not exists (select from instance i where i.sop_instance_uid = r.sop_instance_uid)
 order by r.receipt_id
