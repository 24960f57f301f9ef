-- Mark the objects of a release, as they stand in its bucket, that were not produced as today's decisions want it: a
-- string that has to go was not struck, one that was struck may stay, or one that is held is in them.
with rule as materialized (
    select d.string_id, d.decision
      from release r, decisions_for(r.project) d
     where r.release_id = %(release_id)s and d.decision in ('remove', 'hold')
), kind as materialized (
    select distinct set_id, struck from released_strings where release_id = %(release_id)s
), wrong as (
    -- A decision about an element is one about each of its values, which may be tens of thousands: joined by hashing, and
    -- no join between aggregates, of whose size nothing is known where the release was exported a moment ago.
    select set_id, struck
      from (select set_id, struck, null::bigint as string_id, null as decision from kind
            union all
            select k.set_id, k.struck, r.string_id, r.decision
              from kind k
              join retained_set t using (set_id)
             cross join lateral unnest(t.strings) as one(string_id)
              join rule r on r.string_id = one.string_id) met
     group by set_id, struck
    having struck <> coalesce(array_agg(string_id order by string_id) filter (where decision = 'remove'), '{}')
        or coalesce(bool_or(decision = 'hold'), false)
)
insert into review_redo (release_id, sop_instance_uid)
select s.release_id, s.sop_instance_uid
  from released_strings s
  join wrong w on w.set_id = s.set_id and w.struck = s.struck
  join released_object o on o.release_id = s.release_id and o.sop_instance_uid = s.sop_instance_uid
 where s.release_id = %(release_id)s and o.kind = 'dicom' and o.uploaded_at is not null
on conflict do nothing
