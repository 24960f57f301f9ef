-- How much each reader has read: films in all, since a moment, and the middle of the seconds they took.
-- Parameters: task, since.
select reader, count(*) as films, count(*) filter (where decided_at >= %(since)s) as lately,
       percentile_cont(0.5) within group (order by seconds) as seconds, avg(accepted::integer) as accepted
  from annotation_now
 where task = %(task)s
 group by reader
 order by films desc, reader
