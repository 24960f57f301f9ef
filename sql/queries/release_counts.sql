-- Counts of a release at every stage. Reasons are counted, instances never named.
select f.studies, f.series, f.members, f.expected, f.received, f.indexed, f.checked,
       (select count(*) from release_member m where m.release_id = r.release_id) as selected,
       (select count(*) from released_object o
         where o.release_id = r.release_id and o.uploaded_at is not null)        as released,
       (select coalesce(jsonb_object_agg(reason_code, number), '{}')
          from (select held_reason as reason_code, count(*) as number
                  from release_member m
                 where m.release_id = r.release_id and held_reason is not null
                 group by held_reason) held)                                      as held,
       (select coalesce(jsonb_object_agg(reason_code, number), '{}')
          from (select g.reason_code, count(*) as number
                  from open_gap g
                 where g.window_key = r.window_key and g.step = 'released'
                   and not exists (select from release_member m
                                    where m.release_id = r.release_id and m.sop_instance_uid = g.sop_instance_uid)
                 group by g.reason_code) left_out)                                as left_out
  from release r
  join window_funnel f using (window_key)
 where r.release_id = %(release_id)s
