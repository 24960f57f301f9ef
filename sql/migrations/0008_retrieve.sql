-- Retrieval from several sources and by several ways: what each attempt brought, what is planned, why not.

alter table attempt
    add column bytes bigint not null default 0;   -- of what arrived between its start and its end
comment on column attempt.kind is 'C-MOVE, C-GET or WADO-RS';
comment on column attempt.pacs is 'the source that was asked: id of its connection';
comment on column attempt.status is 'final status: four hex digits of DIMSE, three digits of HTTP; null when none came';

-- The status under which this instance was refused: the request's, or its own where we know it.
alter table attempt_missing
    add column status text;

-- When a study will be asked for again. A row stands from the end of a pass to the beginning of the next; without
-- one nothing is planned, and what is missing stays missing until somebody runs retrieve again.
create table planned_attempt (
    window_key         text not null references sweep_window,
    study_instance_uid text not null,
    pacs               text not null,             -- first source that will be asked
    due_at             timestamptz not null,
    primary key (window_key, study_instance_uid)
);

-- What is learned about a PACS: caps and habits by the sweep, how it sends by retrieval
-- ('moves': 1 it sends by C-MOVE to our destination, 0 it does not).
alter table pacs_fact drop constraint if exists pacs_fact_fact_check;
alter table pacs_fact add constraint pacs_fact_fact_check check (fact ~ '^[a-z_]+$');

insert into reason (reason_code, step, meaning, advice) values
    ('no-longer-held', 'received', 'The source named it in a sweep, but no longer holds it.', 'Sweep the window again. If it is gone there too, ask the administrator of the PACS whether it was deleted or moved.'),
    ('no-space',       'received', 'It came, but our disk was too full to keep it.', 'Free space below the archive, then run retrieve again. The threshold is SLUICE_RECEIVER_MIN_FREE_BYTES.'),
    ('not-stored',     'received', 'It came, but could not be written here.', 'See the status of the attempt and the log of the task; repair the archive, then run retrieve again.');
update reason
   set meaning = 'The source refused the request.',
       advice  = 'See the status of the attempt. A7xx or 503: out of resources, retry later. A801: the PACS does not know our AE title. 401, 403: correct login, password or token of the connection.'
 where reason_code = 'refused';
