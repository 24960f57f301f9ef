-- Members of a release whose pictures are shown: the first, the middle and the last of each series.
select sop_instance_uid,
       case when at = 1 then 1 when at = number then 3 else 2 end as position
  from (select m.sop_instance_uid, r.series_instance_uid,
               row_number() over (partition by r.series_instance_uid order by r.receipt_id) as at,
               count(*) over (partition by r.series_instance_uid)                            as number
          from release_member m join receipt r using (sop_instance_uid)
         where m.release_id = %(release_id)s) numbered
 where at in (1, number, (number + 1) / 2)
