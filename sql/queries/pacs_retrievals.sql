-- Windows whose retrieval is under way, waits for a person, or was cancelled within a day: how far each is, what was
-- ordered, and how much it had moved within the last minutes. At most 30.
with concerned as (
    select window_key, max(coalesce(ended_at, clock_timestamp())) as at
      from pacs_use
     where purpose in ('retrieve', 'cohort') and window_key is not null
       and (ended_at is null or ended_at > clock_timestamp() - interval '1 hour')
     group by 1
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
       max(r.received_at)                                                   as last_received_at
  from latest l
  join sweep_window w using (window_key)
  left join window_retrieval o using (window_key)
  left join expectation e using (window_key)
  left join receipt r using (sop_instance_uid)
 group by l.window_key, l.at, o.state, o.priority, o.ordered_by, o.ordered_at
 order by l.at desc, l.window_key
