-- Elements of one stored header of each series, the instance that was indexed first. Parameters: series (UIDs), tags.
select series_instance_uid,
       (select jsonb_object_agg(tag, header -> tag) from unnest(%(tags)s::text[]) as tag where header ? tag) as elements
  from (select distinct on (series_instance_uid) series_instance_uid, header
          from instance
         where series_instance_uid = any(%(series)s)
         order by series_instance_uid, indexed_at, sop_instance_uid) first
