-- Text that was found in pixels of a release's members, by what it says: how many of them show it, and one.
select said, is_marker, count(*) as objects, max(score) as score, min(sop_instance_uid) as example
  from (select t.said, t.is_marker, t.sop_instance_uid, max(t.score) as score
          from release_member m join pixel_text t using (sop_instance_uid)
         where m.release_id = %(release_id)s and m.held_reason is null
         group by t.said, t.is_marker, t.sop_instance_uid) shown
 group by said, is_marker
 order by is_marker, objects, said
 limit 200
