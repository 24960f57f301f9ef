-- Instances that have to be looked at before a part of a release leaves and were not yet: of series of slices one in so
-- many, and the first, the middle and the last; of everything else each.
with member as (
    select i.sop_instance_uid, i.series_instance_uid, i.sop_class_uid
      from release_member m
      join receipt r using (sop_instance_uid)
      join instance i using (sop_instance_uid)
     where m.release_id = %(release_id)s and r.receipt_id between %(first)s and %(last)s
), slice as (
    select i.sop_instance_uid,
           row_number() over (partition by i.series_instance_uid order by i.instance_number, i.sop_instance_uid) - 1 as n,
           count(*) over (partition by i.series_instance_uid) as slices
      from instance i
     where i.sop_class_uid = any(%(slices)s)
       and i.series_instance_uid in (select series_instance_uid from member where sop_class_uid = any(%(slices)s))
), wanted as (
    select sop_instance_uid from member where sop_class_uid <> all(%(slices)s)
    union
    select sop_instance_uid from slice where n in (0, slices / 2, slices - 1) or n %% %(one_in)s = 0
)
select sop_instance_uid, r.path, r.sha256
  from wanted
  join receipt r using (sop_instance_uid)
 where not exists (select from pixel_screening p
                    where p.sop_instance_uid = wanted.sop_instance_uid and p.screener = %(screener)s)
 order by r.receipt_id
