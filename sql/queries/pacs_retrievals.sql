-- Windows whose retrieval is under way or was within the hour, waits for its next time or for a person, or was cancelled
-- within a day: how far each is, what was ordered, and how much it had moved within the last minutes. `is_under_way` also
-- while it waits to ask again, or for a slot. At most 30.
with planned as (
    select window_key
      from planned_attempt
     where due_at > clock_timestamp() - interval '1 hour'  -- longer overdue: whoever planned it is gone
     group by 1
), concerned as (
    select window_key, max(coalesce(ended_at, clock_timestamp())) as at
      from pacs_use
     where purpose in ('retrieve', 'cohort') and window_key is not null
       and (ended_at is null or ended_at > clock_timestamp() - interval '1 hour')
     group by 1
    union all
    select window_key, clock_timestamp() from planned
    union all
    select window_key, ordered_at
      from window_retrieval
     where state = 'paused' or (state = 'cancelled' and ordered_at > clock_timestamp() - interval '1 day')
), latest as (
    select window_key, max(at) as at from concerned group by 1 order by 2 desc limit 30
)
select l.window_key,
       coalesce(o.state, 'active')                                          as state,
       o.priority, o.ordered_by, o.ordered_at,
       count(e.sop_instance_uid)                                            as expected,
       count(r.sop_instance_uid)                                            as received,
       coalesce(sum(r.bytes), 0)::bigint                                    as bytes,
       count(*) filter (where r.received_at > now() - interval '5 minutes') as received_lately,
       max(r.received_at)                                                   as last_received_at,
       exists (select from pacs_use u
                where u.window_key = l.window_key and u.purpose in ('retrieve', 'cohort')
                  and case when u.ended_at is null then u.heartbeat_at > clock_timestamp() - interval '2 minutes'
                           else u.ended_by = 'gave-up' and u.ended_at > clock_timestamp() - interval '15 minutes' end)
       or exists (select from planned p where p.window_key = l.window_key)
                                                                            as is_under_way
  from latest l
  join sweep_window w using (window_key)
  left join window_retrieval o using (window_key)
  left join expectation e using (window_key)
  left join receipt r using (sop_instance_uid)
 group by l.window_key, l.at, o.state, o.priority, o.ordered_by, o.ordered_at
 order by l.at desc, l.window_key
