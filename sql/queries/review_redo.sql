-- Mark the objects of a release, as they stand in its bucket, that were not produced as today's decisions want it: a
-- string that has to go was not struck, one that was struck may stay, or one that is held is in them.
with rule as materialized (
    select d.string_id, d.decision
      from release r, decisions_for(r.project) d
     where r.release_id = %(release_id)s and d.decision in ('remove', 'hold')
), kind as materialized (
    select distinct set_id, struck from released_strings where release_id = %(release_id)s
), wanted as (
    -- By hashing: a decision about an element is one about each of its values, which may be tens of thousands.
    select k.set_id, array_agg(r.string_id order by r.string_id) filter (where r.decision = 'remove') as struck,
           bool_or(r.decision = 'hold') as is_held
      from (select distinct set_id from kind) k
      join retained_set t using (set_id)
     cross join lateral unnest(t.strings) as one(string_id)
      join rule r on r.string_id = one.string_id
     group by k.set_id
), wrong as (
    select k.set_id, k.struck
      from kind k
      left join wanted w using (set_id)
     where k.struck <> coalesce(w.struck, '{}') or coalesce(w.is_held, false)
)
insert into review_redo (release_id, sop_instance_uid)
select s.release_id, s.sop_instance_uid
  from released_strings s
  join wrong w on w.set_id = s.set_id and w.struck = s.struck
  join released_object o on o.release_id = s.release_id and o.sop_instance_uid = s.sop_instance_uid
 where s.release_id = %(release_id)s and o.kind = 'dicom' and o.uploaded_at is not null
on conflict do nothing
