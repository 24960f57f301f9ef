-- Received instances of a batch whose header is not in the database yet, series by series. One that was indexed before
-- headers were kept in blocks is read again.
select r.receipt_id, r.sop_instance_uid, r.series_instance_uid, r.study_instance_uid, r.sop_class_uid,
       r.transfer_syntax_uid, r.path, r.sha256, r.bytes
  from receipt r
  join window_member m on m.sop_instance_uid = r.sop_instance_uid and m.window_key = %(window_key)s
 where r.receipt_id between %(first)s and %(last)s
   and not exists (select from instance i where i.sop_instance_uid = r.sop_instance_uid and i.block_id is not null)
 order by r.series_instance_uid, r.receipt_id
