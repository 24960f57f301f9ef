-- The review of a release by a person: what strings it keeps, what was decided about them, thumbnails, approvals.

alter table release
    add column approvals_needed smallint not null default 0 check (approvals_needed between 0 and 2),
    add column approvers        text[] not null default '{}',  -- who may; empty: whoever Airflow lets answer
    add column requested_by     text[] not null default '{}';  -- who asked for it, and so cannot approve it alone

-- Every distinct string that produced files kept, of all releases: each stands here once.
create table retained_string (
    string_id bigint generated always as identity primary key,
    digest    text not null unique,               -- SHA-256 over path, VR and value
    path      text not null,                      -- '0008,103E', '0040,0275>0040,0007', '0019,xx0C[CREATOR]'
    vr        text not null,
    kind      text not null check (kind in ('text', 'code', 'number')),
    value     text not null,
    first_seen timestamptz not null default now()
);
create index on retained_string (path);

-- Objects of a series keep mostly the same strings: a set of them stands here once.
create table retained_set (
    set_id  bigint generated always as identity primary key,
    digest  text not null unique,
    strings bigint[] not null                     -- retained_string, in order
);
create index on retained_set using gin (strings);

create table released_strings (
    release_id       bigint not null references release,
    sop_instance_uid text not null,
    set_id           bigint not null references retained_set,
    sha256           text not null,               -- of the object as it was produced; empty where it was held
    struck           bigint[] not null default '{}', -- strings of the set that a decision took out of it, in order
    primary key (release_id, sop_instance_uid)
);
create index on released_strings (release_id, set_id);
create index on released_strings (sop_instance_uid);

-- Pictures for the eye of who approves, made of produced objects only.
create table release_thumbnail (
    release_id       bigint not null references release,
    sop_instance_uid text not null,
    series           text not null,               -- of the produced object
    patient          text not null,               -- pseudonym
    position         integer not null,            -- 1: the first of its series, 2: the middle one, 3: the last
    jpeg             bytea,                       -- null where the pixels could not be drawn
    primary key (release_id, sop_instance_uid)
);

-- What was decided about a string, or about every value of an element. The newest decision counts; a project's own goes
-- before one for all projects, one about the string before one about the element.
create table string_rule (
    rule_id    bigint generated always as identity primary key,
    project    text,                              -- null: for all
    path       text not null,
    string_id  bigint references retained_string, -- null: every value of the element
    decision   text not null check (decision in ('keep', 'remove', 'hold', 'withdrawn')),
    reason     text not null default '',
    decided_by text not null,
    decided_at timestamptz not null default now()
);
create index on string_rule (string_id);
create index on string_rule (path);

create view standing_rule as
    select * from (select distinct on (project, path, string_id) *
                     from string_rule
                    order by project, path, string_id, rule_id desc) newest
     where decision <> 'withdrawn';

-- What stands for each string that a project, or everybody, decided about.
create function decisions_for(which text) returns table (string_id bigint, decision text, rule_id bigint)
    language sql stable as $$
    select distinct on (string_id) string_id, decision, rule_id
      from (select s.string_id, r.decision, r.rule_id, 0 as rank_, r.project
              from standing_rule r join retained_string s on s.string_id = r.string_id
             where r.project is null or r.project = which
            union all
            select s.string_id, r.decision, r.rule_id, 1, r.project
              from standing_rule r join retained_string s on r.string_id is null and s.path = r.path
             where r.project is null or r.project = which) decided
     order by string_id, rank_, project is null
$$;

-- Objects that a decision concerns and that have to be produced again. A row goes when that is done.
create table review_redo (
    release_id       bigint not null references release,
    sop_instance_uid text not null,
    primary key (release_id, sop_instance_uid)
);

-- What a review found when it was opened, for the page; computed again whenever the release changed.
create table release_review (
    release_id bigint primary key references release,
    digest     text not null,
    opened_at  timestamptz not null default now()
);
create table review_string (
    release_id bigint not null references release,
    string_id  bigint not null references retained_string,
    objects    integer not null,
    patients   integer not null,
    example    text not null,                     -- SOP Instance UID of one object that has it
    is_new     boolean not null,                  -- in no version of the project that was published before
    primary key (release_id, string_id)
);

-- Who said what of which state of a release. Facts: nothing here is ever changed.
create table release_approval (
    approval_id bigint generated always as identity primary key,
    release_id  bigint not null references release,
    digest      text not null,                    -- sluice.release.review.digest_of when it was said
    verdict     text not null check (verdict in ('approved', 'rejected')),
    decided_by  text not null,
    reason      text not null default '',
    decided_at  timestamptz not null default now()
);
create index on release_approval (release_id, digest);

-- The Airflow task that waits for the approval, so that it can be told when there is one.
create table review_waiting (
    release_id bigint primary key references release,
    dag_id     text not null,
    run_id     text not null,
    task_id    text not null,
    map_index  integer not null,
    since      timestamptz not null default now()
);

create function facts_stay() returns trigger language plpgsql as $$
begin
    raise exception '% only grows: decisions are never changed or deleted', tg_table_name;
end
$$;
create trigger facts_stay before update or delete or truncate on release_approval
    for each statement execute function facts_stay();
create trigger facts_stay before update or delete or truncate on string_rule
    for each statement execute function facts_stay();

insert into reason (reason_code, step, meaning, advice) values
    ('held-conformance', 'released', 'De-identification made an error in the object that was not there before.', 'Held; the detail names the attribute. Report it: the profile has to treat it otherwise.'),
    ('held-review', 'released', 'A person decided that objects with a string which stands in it are held.', 'See the page Review; the decision can be withdrawn there.');
