-- Elements of the first instance of the first block of each series. Parameters: series, tags (eight hex digits each).
with first as (
    select distinct on (series_instance_uid) series_instance_uid, block_id
      from header_block where series_instance_uid = any (%(series)s)
     order by series_instance_uid, block_id
)
select f.series_instance_uid, wanted.tag, coalesce(shared_element(b, wanted.tag), d.elements -> 0) as element
  from first f
  join header_block b using (block_id)
  cross join unnest(%(tags)s) wanted(tag)
  left join header_difference d on d.block_id = f.block_id and d.tag = wanted.tag
 where coalesce(shared_element(b, wanted.tag), nullif(d.elements -> 0, 'null')) is not null
