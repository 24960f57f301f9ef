-- Opt-outs, recalls of what was released, and researchers' requests. All of it is appended, never changed: what is in
-- force, what is done and what is overdue is computed.

insert into reason (reason_code, step, meaning, advice) values
    ('opted-out', 'released', 'Its patient, study or itself was opted out, or its release was recalled.', 'Nothing to do.')
    on conflict do nothing;

-- Whose images must not be used. Patient IDs stand here as they do in `study`.
create table opt_out (
    opt_out_id         bigint generated always as identity primary key,
    kind               text not null check (kind in ('patient', 'study', 'instance', 'release', 'project')),
    patient_id         text,
    patient_id_issuer  text,                      -- null: of any issuer
    study_instance_uid text,
    sop_instance_uid   text,
    project            text,                      -- of the release, or the project itself
    version            integer,                   -- of the release
    projects           text[],                    -- for these projects only; null: for all
    reason             text not null check (reason in ('withdrawn', 'error')),   -- all that recipients are told of why
    why                text not null,             -- as a person said it; stays in the house
    starts_on          date not null default current_date,
    ends_on            date check (ends_on >= starts_on),                        -- inclusive; null: for ever
    said_by            text not null,
    said_at            timestamptz not null default now(),
    check (case kind when 'patient'  then patient_id is not null
                     when 'study'    then study_instance_uid is not null
                     when 'instance' then sop_instance_uid is not null
                     when 'release'  then project is not null and version is not null
                     else project is not null end)
);
create index on opt_out (patient_id);
create table opt_out_withdrawal (
    opt_out_id   bigint primary key references opt_out,
    why          text not null,
    withdrawn_by text not null,
    withdrawn_at timestamptz not null default now()
);

create view opt_out_in_force as
    select o.*
      from opt_out o
     where current_date between o.starts_on and coalesce(o.ends_on, 'infinity')
       and not exists (select from opt_out_withdrawal w where w.opt_out_id = o.opt_out_id);

create index on instance (patient_id);

-- Every instance that an opt-out names and that is here or was released. An issuer that one side does not know is no
-- difference: rather one image too few than one too many.
create view opted_out_instance as
    select o.opt_out_id, o.projects, i.sop_instance_uid
      from opt_out_in_force o
      join study s on s.patient_id = o.patient_id
                  and coalesce(nullif(s.patient_id_issuer, ''), o.patient_id_issuer, '')
                    = coalesce(o.patient_id_issuer, nullif(s.patient_id_issuer, ''), '')
      join instance i on i.study_instance_uid = s.study_instance_uid
     where o.kind = 'patient'
    union
    select o.opt_out_id, o.projects, i.sop_instance_uid
      from opt_out_in_force o
      join instance i on i.patient_id = o.patient_id
      join study s on s.study_instance_uid = i.study_instance_uid
                  and coalesce(nullif(s.patient_id_issuer, ''), o.patient_id_issuer, '')
                    = coalesce(o.patient_id_issuer, nullif(s.patient_id_issuer, ''), '')
     where o.kind = 'patient'
    union
    select o.opt_out_id, o.projects, i.sop_instance_uid
      from opt_out_in_force o join instance i on i.study_instance_uid = o.study_instance_uid
     where o.kind = 'study'
    union
    select o.opt_out_id, o.projects, o.sop_instance_uid
      from opt_out_in_force o
     where o.kind = 'instance'
    union
    select o.opt_out_id, o.projects, m.sop_instance_uid
      from opt_out_in_force o
      join release r on r.project = o.project and (o.kind = 'project' or r.version = o.version)
      join release_member m on m.release_id = r.release_id
     where o.kind in ('release', 'project');

-- A recall: objects of one release that were decided upon at one moment.
create table recall (
    recall_id  bigint generated always as identity primary key,
    release_id bigint not null references release,
    revision   integer not null check (revision > 0),     -- of the release's manifest: 1 for its first recall
    reason     text not null check (reason in ('withdrawn', 'error')),
    was_published boolean not null,                       -- else nobody can have it, and nobody has to be told
    due_on     date not null,                             -- until when recipients have to say that they deleted it
    ordered_by text not null,
    ordered_at timestamptz not null default now(),
    unique (release_id, revision)
);
create table recall_cause (
    recall_id  bigint not null references recall,
    opt_out_id bigint not null references opt_out,
    primary key (recall_id, opt_out_id)
);
create table recall_object (
    release_id       bigint not null references release,
    object_key       text not null,
    recall_id        bigint not null references recall,
    sop_instance_uid text,                                -- none of an object that is made of several
    kind             text not null,
    bytes            bigint not null,
    sha256           text not null,
    primary key (release_id, object_key)
);
create index on recall_object (recall_id);
create index on recall_object (release_id, sop_instance_uid);
create table recall_event (
    event_id  bigint generated always as identity primary key,
    recall_id bigint not null references recall,
    event     text not null check (event in ('tombstone', 'manifest', 'deleted', 'refused', 'gone', 'returned')),
    detail    jsonb not null default '{}',
    noted_at  timestamptz not null default now()
);
create index on recall_event (recall_id, event_id desc);
create table recall_recipient (
    recall_id bigint not null references recall,
    recipient text not null,
    contact   text,
    basis     text not null check (basis in ('named', 'pulled')),   -- by the project's file, or by the bucket's access log
    primary key (recall_id, recipient)
);
create table recall_acknowledgement (
    recall_id       bigint not null,
    recipient       text not null,
    note            text not null,                        -- what they said
    recorded_by     text not null,
    acknowledged_at timestamptz not null default now(),
    primary key (recall_id, recipient),
    foreign key (recall_id, recipient) references recall_recipient
);

-- Who read what of a release, as the bucket's own access log says.
create table release_access (
    release_id bigint not null references release,
    requester  text not null,
    first_at   timestamptz not null,
    last_at    timestamptz not null,
    objects    integer not null,
    primary key (release_id, requester)
);

-- What is not in any bucket any more is not released, and its gap says why.
do $$
declare
    before text := pg_get_functiondef('ledger_of_window(text)'::regprocedure);
    after text := replace(before, 'where release.published_at is not null',
                          'where release.published_at is not null and not exists '
                          '(select from recall_object gone where gone.release_id = o.release_id and gone.object_key = o.object_key)');
begin
    if after = before then
        raise exception 'ledger_of_window does not look as 0009 left it';
    end if;
    execute after;
end $$;

-- A version does not hold what was recalled of it, from the moment in which that was decided. Otherwise as 0025 has it.
create or replace function objects_of_release(which bigint)
    returns table (path text, object_key text, kind text, bytes bigint, sha256 text, columns jsonb, recipe text,
                   sop_instance_uid text, engine text)
    language sql stable as $$
    with content as (
        select r.release_id, r.version, r.profile ->> 'sluice' as engine from release r where r.release_id = which
        union all
        select r.release_id, r.version, r.profile ->> 'sluice'
          from release_content c join release r on r.release_id = c.contains
         where c.release_id = which
    )
    select distinct on (v.path)
           v.path, o.object_key, o.kind, o.bytes, o.sha256, o.columns, o.recipe, o.sop_instance_uid, c.engine
      from content c
      join released_object o using (release_id)
     cross join lateral (select regexp_replace(o.object_key, '^[^/]+/v[0-9]+/', '') collate "C" as path) v
     where o.uploaded_at is not null
       and not exists (select from release_member m join content newer on newer.release_id = m.release_id
                        where m.sop_instance_uid = o.sop_instance_uid and m.held_reason is not null
                          and newer.version > c.version)
       and not exists (select from recall_object gone
                        where gone.release_id = o.release_id and gone.object_key = o.object_key)
     order by v.path, c.version desc
$$;

create view recall_state as
    select c.recall_id, c.release_id, r.project, r.version, r.bucket, r.prefix, c.revision, c.reason, c.was_published,
           c.due_on, c.ordered_by, c.ordered_at,
           (select array_agg(opt_out_id order by opt_out_id) from recall_cause k where k.recall_id = c.recall_id) as causes,
           (select count(*) from recall_object o where o.recall_id = c.recall_id)                              as objects,
           newest.event, newest.detail, newest.noted_at,
           coalesce(newest.event = 'gone', false)                                                              as is_gone,
           p.recipients, p.acknowledged,
           coalesce(c.due_on < current_date and p.acknowledged < p.recipients, false)                          as is_overdue
      from recall c
      join release r using (release_id)
      left join lateral (select event, detail, noted_at from recall_event e
                          where e.recall_id = c.recall_id order by event_id desc limit 1) newest on true
      cross join lateral (select count(*) as recipients, count(a.recipient) as acknowledged
                            from recall_recipient t left join recall_acknowledgement a using (recall_id, recipient)
                           where t.recall_id = c.recall_id) p;

-- What a researcher asked for, from a page or a form: kept here so that no list or filter stands in Airflow.
create table cohort_request (
    request_id  bigint generated always as identity primary key,
    project     text not null,
    name        text not null,
    window_key  text not null,
    kind        text not null check (kind in ('list', 'filter', 'version')),
    list_id     bigint,                           -- no reference: a list may be forgotten
    expression  jsonb,
    version_id  bigint references cohort_version,
    formats     text[] not null,
    profile     text not null,
    instances   bigint not null,                  -- as estimated; what counts against the quota
    bytes       bigint not null,
    estimate    jsonb not null,
    overridden_by text,                           -- who let it pass above the quota, and why
    overridden_why text,
    asked_by    text not null,
    asked_at    timestamptz not null default now()
);
create index on cohort_request (project, asked_at);
create table cohort_request_run (
    request_id bigint not null references cohort_request,
    run_id     text not null,
    noted_at   timestamptz not null default now(),
    primary key (request_id, run_id)
);
do $$
declare written text;
begin
    foreach written in array array['opt_out', 'opt_out_withdrawal', 'recall', 'recall_cause', 'recall_object',
                                   'recall_event', 'recall_recipient', 'recall_acknowledgement', 'cohort_request',
                                   'cohort_request_run'] loop
        execute format('create trigger append_only before update or delete or truncate on %I '
                       'for each statement execute function keep_as_written()', written);
    end loop;
end $$;
