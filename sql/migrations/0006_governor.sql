-- One governor for each PACS: what it may be asked (policy), who asks now (uses), what it bears (events), and what
-- people ordered about a window's retrieval. Facts are appended; what holds now is the newest of them.

-- Who set which policy when. The newest holds; the one before is the old value.
create table pacs_policy_change (
    change_id  integer generated always as identity primary key,
    pacs       text not null,
    policy     jsonb not null,                    -- sluice.pacs.governor.policy
    changed_by text not null,
    changed_at timestamptz not null default now()
);
create index on pacs_policy_change (pacs, change_id desc);

create view pacs_policy as
    select distinct on (pacs) pacs, policy, changed_by, changed_at
      from pacs_policy_change
     order by pacs, change_id desc;

-- What people ordered about a window's retrieval. Priority null: as the run says.
create table window_order (
    order_id   integer generated always as identity primary key,
    window_key text not null references sweep_window,
    state      text not null check (state in ('active', 'paused', 'cancelled')),
    priority   smallint check (priority in (0, 1, 2)),   -- urgent, routine, backfill
    ordered_by text not null,
    ordered_at timestamptz not null default now()
);
create index on window_order (window_key, order_id desc);

create view window_retrieval as
    select distinct on (window_key) window_key, state, priority, ordered_by, ordered_at
      from window_order
     order by window_key, order_id desc;

-- One row for each association with a PACS that was asked for: waiting, then granted, then ended.
-- Who lives is decided by the session lock (4711, lease_id) of the holder's connection, which Postgres frees with it.
create table pacs_use (
    lease_id      integer generated always as identity primary key,
    pacs          text not null,
    purpose       text not null check (purpose in ('sweep', 'retrieve', 'cohort', 'test')),
    who           text not null,                  -- task or person; never a patient's data
    dag_id        text,
    run_id        text,
    window_key    text,
    priority      smallint not null,              -- 0 urgent, 1 routine, 2 backfill
    host          text not null,
    process       integer not null,
    asked_at      timestamptz not null default clock_timestamp(),
    waiting_since timestamptz not null default clock_timestamp(),  -- earlier than asked_at where a wait goes on
    granted_at    timestamptz,
    granted_rank  integer,                        -- priority less the ranks gained by waiting
    heartbeat_at  timestamptz not null default clock_timestamp(),
    requests      integer not null default 0,
    bytes         bigint not null default 0,
    ended_at      timestamptz,
    ended_by      text check (ended_by in ('released', 'gave-way', 'gave-up', 'closed', 'ordered', 'died'))
);
create index on pacs_use (pacs) where ended_at is null;
create index on pacs_use (pacs, ended_at desc);
create index on pacs_use (window_key);

-- Every change of what a PACS is believed to bear, with the reason. The newest holds.
create table pacs_event (
    event_id    integer generated always as identity primary key,
    pacs        text not null,
    kind        text not null check (kind in ('slow-down', 'recovery', 'probe')),
    reason      text not null,
    in_use      integer not null,                 -- associations at that moment
    concurrency integer,                          -- associations it bears from now on; null = as policy says
    ceiling     integer,                          -- the most it bore before it complained; null = never did
    probes      integer not null default 0,       -- how often more than the ceiling was tried in vain
    pause_s     real not null default 0,          -- added pause before each request, seconds
    happened_at timestamptz not null default clock_timestamp()
);
create index on pacs_event (pacs, event_id desc);

-- What a PACS usually takes for one answer or one instance, milliseconds, and what it took lately.
create table pacs_latency (
    pacs       text not null,
    service    text not null,                     -- 'C-FIND', 'C-MOVE', …
    usual_ms   real not null,
    recent_ms  real not null,
    samples    integer not null,
    learned_at timestamptz not null default clock_timestamp(),
    primary key (pacs, service)
);

-- Where the shared pace stands: until when the next query and the next byte are spoken for.
create table pacs_pace (
    pacs     text primary key,
    query_at timestamptz not null default '-infinity',
    byte_at  timestamptz not null default '-infinity',
    good     integer not null default 0           -- good answers since the newest event
);

insert into reason (reason_code, step, meaning, advice) values
    ('cancelled', 'received', 'A person cancelled the retrieval of this window.', 'Resume it on the page PACS if it is wanted after all.');
