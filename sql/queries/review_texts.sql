-- Text that was found in pixels of a release's members, by what it says: how many of them show it, and one.
select t.said, t.is_marker, count(distinct t.sop_instance_uid) as objects, max(t.score) as score,
       min(t.sop_instance_uid) as example
  from release_member m join pixel_text t using (sop_instance_uid)
 where m.release_id = %(release_id)s and m.held_reason is null
 group by t.said, t.is_marker
 order by t.is_marker, objects, t.said
 limit 200
