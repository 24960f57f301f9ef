-- Films whose answers were not put together with the newest learning of their model yet; what a model said counts only
-- while it is the newest in production. Parameters: model_id, fusion_id, window_key or null for all, after, most.
select r.sop_instance_uid, a.region_key, a.sct_code, a.source_tag, a.confidence, s.station_name,
       r.examined, r.detail -> 'examined_score' as examined_score,
       r.detail -> 'probabilities' -> 'examined36' as probabilities
  from body_part_reading r
  join instance i on i.sop_instance_uid = r.sop_instance_uid
  join series s on s.series_instance_uid = i.series_instance_uid
  left join header_anatomy a on a.series_instance_uid = i.series_instance_uid
  left join fused_anatomy f on f.sop_instance_uid = r.sop_instance_uid and f.model_id = r.model_id
 where r.model_id = %(model_id)s
   and r.examined is not null
   and f.fusion_id is distinct from %(fusion_id)s
   and r.sop_instance_uid > %(after)s
   and (%(window_key)s::text is null
        or r.sop_instance_uid in (select sop_instance_uid from window_member where window_key = %(window_key)s))
 order by r.sop_instance_uid
 limit %(most)s
