-- Radiographs of a batch that a model has not read yet, with what is already known of them.
select i.sop_instance_uid,
       r.path,
       c.path   as canonical_path,
       b.label  as body_part,
       b.detail as body_part_detail
  from receipt r
  join window_member m on m.sop_instance_uid = r.sop_instance_uid and m.window_key = %(window_key)s
  join instance i on i.sop_instance_uid = r.sop_instance_uid
  join series s on s.series_instance_uid = i.series_instance_uid
  left join canonical_image c on c.sop_instance_uid = i.sop_instance_uid
  left join lateral (select p.label, p.detail
                       from prediction_in_use p
                      where p.sop_instance_uid = i.sop_instance_uid and p.task = 'body_part') b on true
 where r.receipt_id between %(first)s and %(last)s
   and s.modality in ('CR', 'DX')
   and not exists (select from prediction p
                    where p.sop_instance_uid = i.sop_instance_uid and p.model_id = %(model_id)s)
   and (%(again)s or not exists (select from gap g
                                  where g.sop_instance_uid = i.sop_instance_uid and g.step = 'predicted'))
 order by r.receipt_id
