-- Detail images of the last week whose film, as the model in production now says, shows nothing that needs them.
-- Parameters: labels, beside: sluice.ivc_filters.gate.
select d.sop_instance_uid
  from detail_image d
  join prediction_in_use p on p.sop_instance_uid = d.sop_instance_uid and p.task = 'body_part'
 where d.decoded_at > now() - interval '7 days'
   and d.shard_id is not null
   and p.label <> all (%(labels)s)
   and not (p.label = 'others' and coalesce(p.detail -> 'visible', '[]') ?| %(beside)s)
 order by d.sop_instance_uid
