-- Whether a window is being fetched now, or is paused: nothing where it is neither. `uses` are slots at a PACS that are
-- held or waited for; a process that has said nothing for two minutes counts for none.
-- Parameters: window_key.
select coalesce(o.state, 'active') as state, o.ordered_by, used.uses
  from (select count(*) as uses
          from pacs_use
         where window_key = %(window_key)s and purpose in ('retrieve', 'cohort') and ended_at is null
           and heartbeat_at > clock_timestamp() - interval '2 minutes') used
  left join window_retrieval o on o.window_key = %(window_key)s
 where used.uses > 0 or o.state = 'paused'
