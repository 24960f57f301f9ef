-- What the quality rules of level "window" see: one row, how much of the window is missing or cannot be read.
select w.window_key,
       w.kind,
       c.members,
       c.expected,
       c.received,
       c.indexed,
       c.expected - c.expected_and_received                                    as missing,
       (c.expected - c.expected_and_received)::float / nullif(c.expected, 0)   as missing_share,
       u.unreadable,
       u.unreadable::float / nullif(c.received, 0)                             as unreadable_share
  from sweep_window w
  cross join lateral (
       select count(*)                                                         as members,
              count(l.expected_at)                                             as expected,
              count(l.received_at)                                             as received,
              count(l.indexed_at)                                              as indexed,
              count(*) filter (where l.expected_at is not null and l.received_at is not null) as expected_and_received,
              array_agg(l.sop_instance_uid) filter (where l.received_at is not null and l.indexed_at is null) as unindexed
         from quality_member l) c
  cross join lateral (
       select count(*) as unreadable
         from unnest(c.unindexed) uid
        where exists (select from quarantine q
                       where q.sop_instance_uid = uid and q.reason_code in ('unreadable', 'truncated'))) u
 where w.window_key = %(window_key)s;
