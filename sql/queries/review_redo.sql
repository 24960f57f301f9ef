-- Mark the objects of a release, as they stand in its bucket, that were not produced as today's decisions want it: a
-- string that has to go was not struck, one that was struck may stay, or one that is held is in them.
with rule as materialized (
    select d.string_id, d.decision
      from release r, decisions_for(r.project) d
     where r.release_id = %(release_id)s and d.decision in ('remove', 'hold')
), kind as (
    select distinct set_id, struck from released_strings where release_id = %(release_id)s
), wrong as (
    select k.set_id, k.struck
      from kind k
      join retained_set t using (set_id)
     where k.struck is distinct from array(select r.string_id from rule r
                                            where r.decision = 'remove' and r.string_id = any(t.strings) order by 1)
        or exists (select from rule r where r.decision = 'hold' and r.string_id = any(t.strings))
)
insert into review_redo (release_id, sop_instance_uid)
select s.release_id, s.sop_instance_uid
  from released_strings s
  join wrong w on w.set_id = s.set_id and w.struck = s.struck
  join released_object o on o.release_id = s.release_id and o.sop_instance_uid = s.sop_instance_uid
 where s.release_id = %(release_id)s and o.kind = 'dicom' and o.uploaded_at is not null
on conflict do nothing
