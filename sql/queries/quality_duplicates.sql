-- Files whose whole pixels have to be read to know whether they are the same: instances of a window whose partial digest
-- another instance has as well, and those others. What was read before is left out. Parameters: window_key, most.
with mine as materialized (
    select i.sop_instance_uid, i.pixel_digest
      from ledger_of_window(%(window_key)s) m
      cross join lateral (select sop_instance_uid, pixel_digest from instance
                           where sop_instance_uid = m.sop_instance_uid offset 0) i
     where i.pixel_digest is not null
), alike as (
    select distinct one.sop_instance_uid
      from mine
      cross join lateral (
           -- A digest that thousands have is a blank image or a phantom: a few of them prove it.
           select twin.sop_instance_uid
             from instance twin
            where twin.pixel_digest = mine.pixel_digest and twin.sop_instance_uid <> mine.sop_instance_uid
            limit 20) other
      cross join lateral (values (mine.sop_instance_uid), (other.sop_instance_uid)) as one(sop_instance_uid)
)
select a.sop_instance_uid, r.path
  from alike a
  join receipt r using (sop_instance_uid)
 where not exists (select from pixel_proof p where p.sop_instance_uid = a.sop_instance_uid)
 order by a.sop_instance_uid
 limit %(most)s;
