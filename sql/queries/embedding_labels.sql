-- The region of each film that a model has an embedding of, as readers say it, else its header; who says it, and of which
-- study it is. Never of whom nobody may use. Parameters: model_id.
select e.position, i.study_instance_uid, e.sop_instance_uid, e.neighbours, e.similarity,
       case when v.standing is null or v.standing = 'differing' then h.region_key else v.examined end as region,
       case when v.standing is null or v.standing = 'differing' then 'header' else v.standing end as origin
  from embedding e
  join instance i using (sop_instance_uid)
  left join header_anatomy h using (series_instance_uid)
  left join annotation_verdict v on v.task = 'body_part' and v.sop_instance_uid = e.sop_instance_uid
 where e.model_id = %(model_id)s
   and e.sop_instance_uid not in (select o.sop_instance_uid from opted_out_instance o where o.projects is null)
 order by e.position
