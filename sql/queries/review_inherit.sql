-- Objects that an earlier version of the project holds were not read again: what is known of the same bytes counts.
insert into released_strings (release_id, sop_instance_uid, set_id, sha256, struck)
select distinct on (o.sop_instance_uid) o.release_id, o.sop_instance_uid, s.set_id, s.sha256, s.struck
  from release r
  join released_object o on o.release_id = r.release_id
                        and not starts_with(o.object_key, r.prefix)   -- what stands under its own was read for it
  join released_strings s on s.sop_instance_uid = o.sop_instance_uid and s.sha256 = o.sha256
 where r.release_id = %(release_id)s and s.release_id <> o.release_id
   and not exists (select from released_strings mine
                    where mine.release_id = o.release_id and mine.sop_instance_uid = o.sop_instance_uid)
 order by o.sop_instance_uid, s.release_id desc
on conflict do nothing
