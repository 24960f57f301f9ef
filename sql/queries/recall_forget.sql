-- Pictures and strings that were kept for the review of releases, of what was opted out or recalled since. Strings themselves
-- are words of lists that many have; which object had them goes.
with out as materialized (
    select distinct r.release_id, x.sop_instance_uid
      from opted_out_instance x
      join release_member m using (sop_instance_uid)
      join release r using (release_id)
     where x.projects is null or r.project = any (x.projects)
), pictures as (
    delete from release_thumbnail t using out
     where (t.release_id, t.sop_instance_uid) = (out.release_id, out.sop_instance_uid)
    returning t.release_id
), sets as (
    delete from released_strings s using out
     where (s.release_id, s.sop_instance_uid) = (out.release_id, out.sop_instance_uid)
    returning s.release_id
), again as (
    delete from review_redo d using out
     where (d.release_id, d.sop_instance_uid) = (out.release_id, out.sop_instance_uid)
    returning d.release_id
)
-- A review that is open is counted anew; what a published one found stays, without an example that is gone.
delete from release_review v using release r
 where r.release_id = v.release_id and r.published_at is null
   and v.release_id in (select release_id from pictures union select release_id from sets)
