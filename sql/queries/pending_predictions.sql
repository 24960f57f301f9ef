-- Radiographs of a batch that a model has not read yet, with what is already known of them.
-- Parameters: window_key or * for every window, first, last, model_id, recipe, again.
select i.sop_instance_uid, r.path, i.sop_class_uid, i.image_type, i.patient_age_years,
       c.shard_id, c.offset_bytes, c.digest,
       coalesce(b.label, h.router5) as body_part, b.visible,
       d.sop_instance_uid is not null as detail_known, d.shard_id as detail_shard_id,
       d.offset_bytes as detail_offset_bytes, d.digest as detail_digest
  from receipt r
  join instance i on i.sop_instance_uid = r.sop_instance_uid
  join series s on s.series_instance_uid = i.series_instance_uid
  left join canonical_image c on c.sop_instance_uid = i.sop_instance_uid and c.recipe = %(recipe)s
  left join detail_image d on d.sop_instance_uid = i.sop_instance_uid and d.recipe = %(recipe)s
  left join lateral (select p.label, p.detail -> 'visible' as visible
                       from prediction_in_use p
                      where p.sop_instance_uid = i.sop_instance_uid and p.task = 'body_part') b on true
  left join lateral (select router5
                        from header_answer
                       where header_answer.sop_instance_uid = i.sop_instance_uid
                       order by decided_at desc limit 1) h on true
 where r.receipt_id between %(first)s and %(last)s
   and (%(window_key)s = '*'
        or exists (select from window_member m
                    where m.sop_instance_uid = r.sop_instance_uid and m.window_key = %(window_key)s))
   and s.modality in ('CR', 'DX')
   and not exists (select from prediction p
                    where p.sop_instance_uid = i.sop_instance_uid and p.model_id = %(model_id)s)
   and not exists (select from header_answer h
                    where h.sop_instance_uid = i.sop_instance_uid and h.model_id = %(model_id)s and not h.audited)
   and (%(again)s or not exists (select from gap g
                                  where g.sop_instance_uid = i.sop_instance_uid and g.step = 'predicted'))
   and i.sop_instance_uid not in (select o.sop_instance_uid from opted_out_instance o where o.projects is null)
 order by r.receipt_id
