-- Whether a window is being fetched now, or is paused: nothing where it is neither. `held` are slots at a PACS, `uses`
-- those that are waited for as well; a process that has said nothing for two minutes counts for none.
-- Parameters: window_key.
select coalesce(o.state, 'active') as state, o.ordered_by, used.uses, used.held
  from (select count(*) as uses, count(granted_at) as held
          from pacs_use
         where window_key = %(window_key)s and purpose in ('retrieve', 'cohort') and ended_at is null
           and heartbeat_at > clock_timestamp() - interval '2 minutes') used
  left join window_retrieval o on o.window_key = %(window_key)s
 where used.uses > 0 or o.state = 'paused'
