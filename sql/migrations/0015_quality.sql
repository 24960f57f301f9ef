-- Quality with consequences: findings about scanners and whole windows, people's decisions about findings, what is held
-- because of both, and the day aggregates that drift and the trend page read.

-- What an object of each level is known by. A scanner's: station name, else serial, as in the scanner reports.
alter table quality_finding drop constraint if exists quality_finding_level_check;
alter table quality_finding add constraint quality_finding_level_check
    check (level in ('window', 'study', 'series', 'instance', 'scanner'));
alter table quality_finding
    add column scanner text,                      -- the scanner that made the object; null where none is known
    add column halts   boolean not null default false,   -- the rule holds the whole window
    add column object  text generated always as (case level when 'window'   then window_key
                                                            when 'study'    then study_instance_uid
                                                            when 'series'   then series_instance_uid
                                                            when 'instance' then sop_instance_uid
                                                            else scanner end) stored;
create index on quality_finding (object, level);
create index on quality_finding (window_key, rule, finding_id);
create index quality_finding_held on quality_finding (level, object, rule) where severity <> 'warn';

-- A person's word about a rule and an object; the newest counts. It outlives the finding: a later check finds again
-- what was accepted, and it stays accepted.
create table quality_decision (
    decision_id bigint generated always as identity primary key,
    rule        text not null,
    level       text not null check (level in ('window', 'study', 'series', 'instance', 'scanner')),
    object      text not null,
    decision    text not null check (decision in ('accept', 'keep-out')),
    reason      text not null check (length(trim(reason)) between 3 and 500),
    decided_by  text not null,
    decided_at  timestamptz not null default now()
);
create index on quality_decision (rule, level, object, decision_id desc);
create index quality_decision_kept_out on quality_decision (level, object) where decision = 'keep-out';
create function keep_as_written() returns trigger language plpgsql as $$
begin
    raise exception 'Rows of % are never changed or removed: add a newer one.', tg_table_name;
end
$$;
create trigger append_only before update or delete or truncate on quality_decision
    for each statement execute function keep_as_written();

-- What is held and by which rule: findings of `quarantine` and `stop` that nobody accepted, and what a person keeps
-- out. Begins at the findings, of which there are few, never at the instances.
create view quality_held as
    select f.rule, f.level, f.object, f.severity
      from quality_finding f
     where f.severity <> 'warn' and (f.level in ('study', 'series', 'instance') or f.level = 'window' and f.halts)
       and coalesce((select d.decision from quality_decision d
                      where d.rule = f.rule and d.level = f.level and d.object = f.object
                      order by d.decision_id desc limit 1), '') <> 'accept'
    union
    select d.rule, d.level, d.object, 'quarantine'
      from quality_decision d
     where d.decision = 'keep-out' and d.level <> 'scanner'
       and not exists (select from quality_decision newer
                        where newer.rule = d.rule and newer.level = d.level and newer.object = d.object
                          and newer.decision_id > d.decision_id);

-- The same for each instance: cohorts and releases leave out what is in here.
create view quality_hold as
    select h.object as sop_instance_uid, h.rule, h.severity
      from quality_held h where h.level = 'instance'
    union
    select i.sop_instance_uid, h.rule, h.severity
      from quality_held h join instance i on i.series_instance_uid = h.object where h.level = 'series'
    union
    select i.sop_instance_uid, h.rule, h.severity
      from quality_held h join instance i on i.study_instance_uid = h.object where h.level = 'study'
    union
    select m.sop_instance_uid, h.rule, h.severity
      from quality_held h join window_instance m on m.window_key = h.object where h.level = 'window';

-- The rules as they were when they last ran, so that pages can explain findings without the suites' files.
create table quality_rule (
    rule          text primary key,
    suite         text not null,                  -- file it came from
    level         text not null,
    severity      text not null,
    halts         boolean not null,
    why           text not null,
    advice        text not null,
    suite_version text not null,
    updated_at    timestamptz not null default now()
);

-- One row a check of a window; the newest is its state.
create table quality_run (
    run_id        bigint generated always as identity primary key,
    window_key    text not null,
    suite_version text not null,
    checked       integer not null,               -- instances
    warns         integer not null,
    quarantines   integer not null,
    stops         integer not null,
    halted        boolean not null,               -- a rule held the whole window, and nobody had accepted that
    seconds       double precision not null,
    checked_at    timestamptz not null default now()
);
create index on quality_run (window_key, run_id desc);

-- Day by day, what the trend page reads: findings of a window by scanner and rule, and how many objects there were.
-- A window that is no day counts under its first day. Scanner '': none is known.
create table quality_trend (
    window_key text not null,
    scanner    text not null,
    rule       text not null,
    day        date not null,
    severity   text not null,
    findings   integer not null,
    primary key (window_key, scanner, rule)
);
create index on quality_trend (day, rule);
create table quality_objects (
    window_key text not null,
    scanner    text not null,
    level      text not null,
    day        date not null,
    objects    integer not null,
    primary key (window_key, scanner, level)
);
create index on quality_objects (day);

-- A scanner's day as drift compares it, from the instances of that day's window.
create table scanner_day (
    scanner       text not null,
    day           date not null,
    modality      text,                           -- of most of its series
    exams         integer not null,
    series        integer not null,
    instances     integer not null,
    facts         jsonb not null,                 -- see sluice.quality.drift
    summarised_at timestamptz not null default now(),
    primary key (scanner, day)
);
create index on scanner_day (day);

-- Whole pixels of the few instances whose partial digests are alike. Null digest: the pixels could not be read.
create table pixel_proof (
    sop_instance_uid text primary key,
    digest           bytea,
    is_blank         boolean not null,
    proven_at        timestamptz not null default now()
);
create index on pixel_proof (digest);

insert into reason (reason_code, step, meaning, advice) values
    ('quality-quarantine', 'released', 'A quality rule of severity quarantine failed, or a person keeps it out.', 'See the page Quality: repair it at the source, or accept the finding with a reason.');
update reason
   set advice = 'See the page Quality; repair it at the source and retrieve it again, or accept the finding with a reason.'
 where reason_code = 'quality-stop';
