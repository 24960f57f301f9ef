-- Pairs of labels of a model and of the one that serves its task, on images that both
-- read, of the newest 50,000 that the model read. Parameter: model_id.
select mine.label as label, theirs.label as serving_label, count(*) as images,
       mine.label = theirs.label as agree, s.model_id as serving
  from model m
  join model_serving s on s.task = m.task and s.model_id <> m.model_id
  cross join lateral (select p.sop_instance_uid, p.label from prediction p
                       where p.model_id = m.model_id order by p.predicted_at desc limit 50000) mine
  join prediction theirs on theirs.model_id = s.model_id and theirs.sop_instance_uid = mine.sop_instance_uid
 where m.model_id = %(model_id)s
 group by mine.label, theirs.label, s.model_id
 order by agree, count(*) desc, mine.label, theirs.label
