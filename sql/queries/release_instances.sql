-- Rows of a release's instances.csv: the produced files' columns and the newest prediction of each task.
select o.object_key, o.bytes, o.sha256, o.columns,
       b.label as body_part, b.score as body_part_score, b.model_id as body_part_model,
       i.label as ivc_filter, i.score as ivc_filter_score, i.model_id as ivc_filter_model
  from released_object o
  left join lateral (select label, score, model_id from prediction p
                      where p.sop_instance_uid = o.sop_instance_uid and task = 'body_part'
                      order by predicted_at desc limit 1) b on true
  left join lateral (select label, score, model_id from prediction p
                      where p.sop_instance_uid = o.sop_instance_uid and task = 'ivc_filter'
                      order by predicted_at desc limit 1) i on true
 where o.release_id = %(release_id)s and o.uploaded_at is not null
   and not exists (select from recall_object gone
                    where gone.release_id = o.release_id and gone.object_key = o.object_key)
 order by o.object_key
