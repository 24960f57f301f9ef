-- Films that a model read, in an order that has nothing to do with when they came. Parameters: model_id, most.
select p.sop_instance_uid, a.region_key, a.sct_code, a.source_tag, a.confidence, s.station_name,
       p.detail ->> 'examined' as examined, p.detail -> 'examined_score' as examined_score,
       p.detail -> 'probabilities' -> 'examined36' as probabilities
  from prediction p
  join instance i on i.sop_instance_uid = p.sop_instance_uid
  join series s on s.series_instance_uid = i.series_instance_uid
  left join header_anatomy a on a.series_instance_uid = i.series_instance_uid
 where p.model_id = %(model_id)s and p.task = 'body_part'
   and p.detail ->> 'examined' is not null
 order by md5(p.sop_instance_uid), p.sop_instance_uid
 limit %(most)s
