-- Instances that a rule took, with the answers that count; those without an answer, and of opted-out people, stay out.
-- Parameters: uids; window_key, null for any.
select i.sop_instance_uid, i.study_instance_uid, a.rests_on
  from instance i
  cross join lateral (select jsonb_object_agg(p.task, jsonb_build_object('model', p.model_id, 'label', p.label,
                                                                         'score', round(p.score::numeric, 4))) as rests_on
                        from prediction_in_use p
                       where p.sop_instance_uid = i.sop_instance_uid) a
 where i.sop_instance_uid = any(%(uids)s)
   and a.rests_on is not null
   and (%(window_key)s::text is null
        or exists (select from window_member m
                    where m.sop_instance_uid = i.sop_instance_uid and m.window_key = %(window_key)s))
   and i.sop_instance_uid not in (select o.sop_instance_uid from opted_out_instance o where o.projects is null)
 order by i.sop_instance_uid
