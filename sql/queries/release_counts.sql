-- Counts of a release at every stage. Reasons are counted, instances never named. Of a frozen version that is released
-- as it is no window knows what was expected or received.
with besides as (
    select g.sop_instance_uid, g.reason_code
      from release r join open_gap g using (window_key)
     where r.release_id = %(release_id)s and r.cohort_version_id is null and g.step = 'released'
    union all
    select c.sop_instance_uid, g.reason_code
      from release r
      join cohort_instance c on c.version_id = r.cohort_version_id
      join lateral (select reason_code from gap
                     where gap.sop_instance_uid = c.sop_instance_uid and gap.step = 'released'
                     order by gap_id desc limit 1) g on true
     where r.release_id = %(release_id)s
)
select f.studies, f.series, f.members, f.expected, f.received, f.indexed, f.checked,
       (select count(*) from release_member m where m.release_id = r.release_id) as selected,
       (select count(*) from released_object o
         where o.release_id = r.release_id and o.kind = 'dicom' and o.uploaded_at is not null
           and not exists (select from recall_object gone where gone.release_id = o.release_id
                                                            and gone.object_key = o.object_key)) as released,
       (select count(*) from recall_object gone join recall using (recall_id)
         where gone.release_id = r.release_id and gone.kind = 'dicom' and was_published) as recalled,
       (select coalesce(jsonb_object_agg(reason_code, number), '{}')
          from (select held_reason as reason_code, count(*) as number
                  from release_member m
                 where m.release_id = r.release_id and held_reason is not null
                 group by held_reason) held)                                      as held,
       (select coalesce(jsonb_object_agg(reason_code, number), '{}')
          from (select g.reason_code, count(*) as number
                  from besides g
                 where not exists (select from release_member m
                                    where m.release_id = r.release_id and m.sop_instance_uid = g.sop_instance_uid)
                 group by g.reason_code) left_out)                                as left_out
  from release r
  -- of this one window: joined as a whole, the view would count all windows first
  left join lateral (select * from window_funnel w where w.window_key = r.window_key offset 0) f on true
 where r.release_id = %(release_id)s
