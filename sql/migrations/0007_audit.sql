-- Sweeps as facts: when each ran, how much it proved, and what a later one found otherwise than the one before.

-- One sweep of a window, or of some minutes of a day. Without `finished_at` it is under way or broke off; the next
-- one of the same window goes on where it broke off.
create table sweep_run (
    run_id      bigint generated always as identity primary key,
    window_key  text not null references sweep_window,
    pacs        text not null,
    kind        text not null check (kind in ('day', 'minutes', 'cohort')),
    from_s      integer not null default 0,       -- seconds of the day; 0 to 86400 is all of it, timeless studies too
    to_s        integer not null default 86400,
    started_at  timestamptz not null default now(),
    finished_at timestamptz,
    queries     integer,
    uncertain   integer,                          -- answers that look cut and could not be split; 0 proves coverage
    contradicted integer,                         -- series that hold fewer than the PACS's own number says
    assumes     text[]                            -- what the proof rests on beyond the answers of this run
);
create index on sweep_run (window_key, run_id desc);

alter table sweep_leaf
    add column run_id bigint references sweep_run;
alter table found_study
    add column run_id bigint references sweep_run;   -- the newest run that was answered it
comment on column sweep_leaf.status is 'final C-FIND status, four hex digits; aborted or timed-out where none came';

-- What a later sweep found otherwise. A study that its window's first sweep found has no row.
create table study_event (
    event_id           bigint generated always as identity primary key,
    run_id             bigint not null references sweep_run,
    window_key         text not null references sweep_window,
    pacs               text not null,
    study_instance_uid text not null,
    event              text not null check (event in ('late', 'changed', 'gone', 'moved', 'returned')),
    detail             jsonb not null default '{}',  -- attribute to [before, after]; instances: [added, gone]
    noted_at           timestamptz not null default now()
);
create index on study_event (window_key, event_id desc);
create index on study_event (study_instance_uid);

-- Whether the PACS still lists an expected instance. No row: it did when it was last asked. The newest row counts.
create table instance_presence (
    presence_id      bigint generated always as identity primary key,
    window_key       text not null references sweep_window,
    sop_instance_uid text not null,
    run_id           bigint not null references sweep_run,
    is_held          boolean not null,
    reason_code      text,                        -- why not: 'no-longer-held', 'moved-to-other-day'
    noted_at         timestamptz not null default now()
);
create index on instance_presence (window_key, sop_instance_uid, presence_id desc);
insert into reason (reason_code, step, meaning, advice) values
    ('moved-to-other-day', 'received', 'The PACS now lists the study under another date.', 'Nothing to do: it is expected in the window of that day.');

-- Expected instances that the PACS no longer lists in their window, and why.
create view instance_absent as
    select window_key, sop_instance_uid, reason_code, noted_at
      from (select distinct on (window_key, sop_instance_uid) window_key, sop_instance_uid, is_held, reason_code, noted_at
              from instance_presence
             order by window_key, sop_instance_uid, presence_id desc) newest
     where not is_held;

-- Each window's newest finished sweep of all of it, and whether it proved that nothing is left out.
create view window_coverage as
    select distinct on (window_key, pacs) window_key, pacs, run_id, kind, started_at, finished_at, queries, uncertain,
           uncertain = 0 as is_proven, contradicted, assumes
      from sweep_run
     where finished_at is not null and from_s = 0 and to_s = 86400
     order by window_key, pacs, run_id desc;

-- What is learned about a PACS may be more than a number.
alter table pacs_fact drop constraint pacs_fact_fact_check;
alter table pacs_fact add constraint pacs_fact_fact_check check (fact ~ '^[a-z_]+$');
alter table pacs_fact
    add column detail jsonb;
