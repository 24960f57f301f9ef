-- Radiographs of a batch of which it is not known yet whether they give a canonical image of this recipe.
-- Parameters: window_key or * for every window, first, last, recipe.
select i.sop_instance_uid, r.path, i.sop_class_uid, i.image_type, i.patient_age_years,
       null::bigint as shard_id, null::bigint as offset_bytes, null::bytea as digest,
       b.label as body_part, b.detail -> 'visible' as visible, a.region_key as header_region
  from receipt r
  join instance i on i.sop_instance_uid = r.sop_instance_uid
  join series s on s.series_instance_uid = i.series_instance_uid
  left join header_anatomy a on a.series_instance_uid = i.series_instance_uid
  left join prediction_in_use b on b.sop_instance_uid = i.sop_instance_uid and b.task = 'body_part'
 where r.receipt_id between %(first)s and %(last)s
   and (%(window_key)s = '*'
        or exists (select from window_member m
                    where m.sop_instance_uid = r.sop_instance_uid and m.window_key = %(window_key)s))
   and s.modality in ('CR', 'DX')
   and not exists (select from canonical_image c
                    where c.sop_instance_uid = i.sop_instance_uid and c.recipe >= %(recipe)s)
   and i.sop_instance_uid not in (select o.sop_instance_uid from opted_out_instance o where o.projects is null)
 order by r.receipt_id
