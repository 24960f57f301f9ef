-- Films that readers see differently and nobody has decided, oldest first, with what each said; without what is opted out.
-- Parameters: task, most.
select v.sop_instance_uid, v.readers,
       (select jsonb_agg(jsonb_build_object('reader', n.reader, 'label', n.label, 'examined', n.examined,
                                            'visible', n.visible, 'comment', n.comment) order by n.reader)
          from annotation_now n where n.task = v.task and n.sop_instance_uid = v.sop_instance_uid) as answers
  from annotation_verdict v
 where v.task = %(task)s and v.standing = 'differing'
   and v.sop_instance_uid not in (select o.sop_instance_uid from opted_out_instance o where o.projects is null)
 order by v.decided_at, v.sop_instance_uid
 limit %(most)s
