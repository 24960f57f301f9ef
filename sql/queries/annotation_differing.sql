-- Films that readers see differently and nobody has decided, oldest first, with what each said, and what header and model
-- say; without what is opted out, and without those whose picture is gone. Parameters: task, most.
select v.sop_instance_uid, v.readers, h.region_key as header_region, p.model_id, p.label, p.score,
       p.detail ->> 'examined' as examined,
       case when jsonb_typeof(p.detail -> 'visible') = 'array'
            then array(select jsonb_array_elements_text(p.detail -> 'visible')) else '{}' end as visible,
       case when jsonb_typeof(p.detail -> 'boxes') = 'array' then p.detail -> 'boxes' else '[]' end as boxes,
       (select jsonb_agg(jsonb_build_object('reader', n.reader, 'label', n.label, 'examined', n.examined,
                                            'visible', n.visible, 'comment', n.comment) order by n.reader)
          from annotation_now n where n.task = v.task and n.sop_instance_uid = v.sop_instance_uid) as answers
  from annotation_verdict v
  join instance i using (sop_instance_uid)
  join canonical_image k on k.sop_instance_uid = v.sop_instance_uid and k.shard_id is not null
  left join header_anatomy h using (series_instance_uid)
  left join prediction_in_use p on p.sop_instance_uid = v.sop_instance_uid and p.task = v.task
 where v.task = %(task)s and v.standing = 'differing'
   and v.sop_instance_uid not in (select o.sop_instance_uid from opted_out_instance o where o.projects is null)
 order by v.decided_at, v.sop_instance_uid
 limit %(most)s
