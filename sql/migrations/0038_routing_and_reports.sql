-- What is handed on: studies by rules over predictions, structured reports on request, and what was sent where.

alter table pacs_use drop constraint pacs_use_purpose_check;
alter table pacs_use add constraint pacs_use_purpose_check
    check (purpose in ('sweep', 'retrieve', 'cohort', 'send', 'test'));

-- Every C-STORE of ours that a node answered, or why it did not come about. Appended.
create table sent_object (
    sent_id          bigint generated always as identity primary key,
    sop_instance_uid text not null,
    node             text not null,               -- id of the connection
    reason           text not null check (reason in ('route', 'report')),
    rule             text,                        -- of a route
    status           text,                        -- four hex digits; null: it was not asked
    detail           text,                        -- why it is not there; null: it is
    sent_at          timestamptz not null default now()
);
create index on sent_object (sop_instance_uid, node);
create index on sent_object (node, sent_at desc);

-- Structured reports, whole: the same answers are the same report, byte for byte.
create table structured_report (
    report_id          bigint generated always as identity primary key,
    study_instance_uid text not null,
    sop_instance_uid   text not null unique,
    content_sha256     text not null,             -- of what is reported, before it is written as DICOM
    file               bytea not null,            -- Part 10
    made_by            text not null,
    made_at            timestamptz not null default now(),
    unique (study_instance_uid, content_sha256)
);

-- Who asked for the report of a study, and where it is to go. Appended; one is open until the node has the report.
create table report_request (
    request_id         bigint generated always as identity primary key,
    study_instance_uid text not null,
    node               text not null,             -- id of the connection
    asked_by           text not null,
    asked_at           timestamptz not null default now()
);
create index on report_request (study_instance_uid);
create view report_request_open as
    select q.*
      from report_request q
     where not exists (select
                         from structured_report r
                         join sent_object s on s.sop_instance_uid = r.sop_instance_uid and s.node = q.node
                                           and s.detail is null and s.sent_at >= q.asked_at
                        where r.study_instance_uid = q.study_instance_uid);

-- The rules as they were when something was decided by them: a file is kept once.
create table routing_rules (
    rules_sha256 text primary key,
    content      text not null,
    file_name    text not null,
    first_used   timestamptz not null default now()
);

-- One row a decision: a rule took an instance, with what it rested on. Appended; a rule of a name decides about an
-- instance once for a destination, so that neither a new model nor a new wording sends everything again.
create table routing_decision (
    decision_id      bigint generated always as identity primary key,
    rules_sha256     text not null references routing_rules,
    rule             text not null,
    sop_instance_uid text not null,
    study_instance_uid text not null,
    destination      text not null,               -- 'model ivc_filter', 'dag ana', 'node PACS2'
    rests_on         jsonb not null,              -- task -> model, label, score
    window_key       text,
    decided_at       timestamptz not null default now(),
    unique (sop_instance_uid, rule, destination)
);
create index on routing_decision (study_instance_uid);
create index on routing_decision (rule, decision_id desc);

-- What came of decisions: handed to a DAG run, sent to a node, or not. Appended.
create table routing_action (
    action_id   bigint generated always as identity primary key,
    decision_id bigint not null references routing_decision,
    outcome     text not null check (outcome in ('sent', 'started', 'failed')),
    detail      text,                             -- the run, or why not
    at          timestamptz not null default now()
);
create index on routing_action (decision_id);
create view routing_open as
    select d.*
      from routing_decision d
     where not exists (select from routing_action a
                        where a.decision_id = d.decision_id and a.outcome in ('sent', 'started'));
