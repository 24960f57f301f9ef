-- An image that may be annotated: the answer that counts for a task, null where there is none. No row: it is not here, or
-- nobody may use it. Parameters: task, sop_instance_uid.
select i.sop_instance_uid, p.model_id, p.label, p.score, p.detail ->> 'examined' as examined,
       case when jsonb_typeof(p.detail -> 'visible') = 'array'
            then array(select jsonb_array_elements_text(p.detail -> 'visible')) else '{}' end as visible
  from instance i
  left join prediction_in_use p on p.sop_instance_uid = i.sop_instance_uid and p.task = %(task)s
 where i.sop_instance_uid = %(sop_instance_uid)s
   and i.sop_instance_uid not in (select o.sop_instance_uid from opted_out_instance o where o.projects is null)
