-- Images of a study that models in production read, with the answers that count and the place of the canonical image in
-- the frame. What a person said is no filter is left out. Parameter: study_instance_uid.
select i.sop_instance_uid, i.series_instance_uid, i.sop_class_uid, i.instance_number,
       b.model_id as body_part_model, b.label as router5, b.score as router5_score, b.detail as body_part,
       v.model_id as ivc_model, v.label as ivc_filter, v.score as ivc_score, v.detail -> 'boxes' as boxes,
       s.kind as said,
       c.source_rows, c.source_columns, c.crop_row, c.crop_column, c.crop_rows, c.crop_columns
  from instance i
  left join prediction_in_use b on b.sop_instance_uid = i.sop_instance_uid and b.task = 'body_part'
  left join prediction_in_use v on v.sop_instance_uid = i.sop_instance_uid and v.task = 'ivc_filter'
  left join ivc_filter_said s on s.sop_instance_uid = i.sop_instance_uid
  left join canonical_image c on c.sop_instance_uid = i.sop_instance_uid
 where i.study_instance_uid = %(study_instance_uid)s
   and (b.model_id is not null or v.model_id is not null)
   and i.sop_instance_uid not in (select o.sop_instance_uid from opted_out_instance o where o.projects is null)
 order by i.series_instance_uid, i.instance_number nulls last, i.sop_instance_uid
