-- What the models saw, beside what the header says; the answers that count.
-- Parameters: window_key; label, null for all; show: 'all', 'disagree' (header and picture name different regions),
-- 'ivc' (a filter was found); after, the last SOP Instance UID of the page before or ''; page_size.
with body_part as (
    select p.*
      from prediction_in_use p
      join window_member m using (sop_instance_uid)
     where m.window_key = %(window_key)s and p.task = 'body_part'
),
ivc_filter as (
    select p.*
      from prediction_in_use p
      join window_member m using (sop_instance_uid)
     where m.window_key = %(window_key)s and p.task = 'ivc_filter'
),
answer as (
    select sop_instance_uid,
           b.label, b.score, b.detail, b.model_id,
           v.label as ivc_label, v.score as ivc_score, v.detail as ivc_detail, v.model_id as ivc_model_id,
           s.modality, s.body_part_examined, a.region_key as header_region, a.source_tag as header_source,
           c.shard_id is not null as has_image,
           c.source_rows, c.source_columns
      from body_part b
      full join ivc_filter v using (sop_instance_uid)
      join instance i using (sop_instance_uid)
      join series s on s.series_instance_uid = i.series_instance_uid
      left join header_anatomy a on a.series_instance_uid = i.series_instance_uid
      left join canonical_image c using (sop_instance_uid)
)
select answer.*,
       header_region is not null and examined is not null and header_region <> examined as disagrees
  from answer
  cross join lateral (select detail ->> 'examined' as examined) e
 where sop_instance_uid > %(after)s
   and (%(label)s::text is null or label = %(label)s)
   and (%(show)s <> 'disagree' or header_region <> examined)
   and (%(show)s <> 'ivc' or ivc_label = 'present')
 order by sop_instance_uid
 limit %(page_size)s
