-- The receiver. Storage commitment (PS3.4 Annex J): what senders asked us to vouch for, and what we told them.

create table commitment_request (
    request_id      bigint generated always as identity primary key,
    transaction_uid text not null,
    calling_ae      text not null,                -- who asked, and is told
    called_ae       text not null,                -- as it called us; we call back by that name
    peer            text not null,                -- host address
    association     uuid not null,
    instances       integer not null,
    digest          text not null,                -- SHA-256 of the references; tells a repeated request from a reused UID
    requested_at    timestamptz not null default now()
);
create index on commitment_request (calling_ae, transaction_uid);

create table commitment_reference (
    request_id       bigint not null references commitment_request,
    position         integer not null,            -- in the request, from 0
    sop_class_uid    text not null,
    sop_instance_uid text not null,
    primary key (request_id, position)
);

-- One row a try to tell. Which instances were vouched for is worked out anew for each.
create table commitment_report (
    report_id  bigint generated always as identity primary key,
    request_id bigint not null references commitment_request,
    outcome    text not null check (outcome in ('delivered', 'failed', 'given-up')),
    detail     text,                              -- why it could not be delivered; never an identifier
    committed  integer,                           -- null where nobody got as far as looking
    failures   jsonb not null default '{}',       -- position to failure reason (0008,1197), four hex digits
    tried_at   timestamptz not null default now()
);
create index on commitment_report (request_id);
create unique index on commitment_report (request_id) where outcome in ('delivered', 'given-up');

create view commitment_status as
    select q.request_id, q.calling_ae, q.transaction_uid, q.instances, q.requested_at,
           coalesce(max(p.outcome) filter (where p.outcome in ('delivered', 'given-up')), 'open') as status,
           count(p.report_id)::integer as tries,
           max(p.tried_at) as last_tried_at,
           (array_agg(p.detail order by p.report_id desc) filter (where p.report_id is not null))[1] as detail,
           (array_agg(p.committed order by p.report_id desc) filter (where p.report_id is not null))[1] as committed
      from commitment_request q
      left join commitment_report p using (request_id)
     group by q.request_id;
