-- Who decided how often, and for whom of those who had read: films, and per film of a reader whether it was their answer.
-- Parameter: task.
select v.adjudicator, n.reader, count(*) as films,
       count(*) filter (where n.label = v.label and n.examined is not distinct from v.examined) as as_reader
  from annotation_verdict v
  join annotation_now n on n.task = v.task and n.sop_instance_uid = v.sop_instance_uid
 where v.task = %(task)s and v.standing = 'adjudicated'
 group by v.adjudicator, n.reader
 order by v.adjudicator, n.reader
