-- Cohorts: what a filter selected, frozen into versions; and what filters over header blocks need to be quick.

-- Filters read the columns of every block. What is large goes out of line, and what every filter joins by never does.
alter table header_block set (toast_tuple_target = 512);
alter table header_block
    alter column series_instance_uid set storage main,
    alter column study_instance_uid set storage main,
    alter column sop_class_uid set storage main,
    alter column transfer_syntax_uid set storage main;

-- A number of DICOM JSON: PS3.18 F.2.3 lets DS, IS, SV and UV be numbers or strings. NULL where it is none.
create function json_number(written jsonb) returns double precision
language sql immutable strict parallel safe as $$
    select case jsonb_typeof(written)
                when 'number' then (written #>> '{}')::double precision
                when 'string' then case when btrim(written #>> '{}') ~ '^[+-]?([0-9]{1,99}(\.[0-9]{0,99})?|\.[0-9]{1,99})([eE][+-]?[0-9]{1,2})?$'
                                        then btrim(written #>> '{}')::double precision end end
$$;

-- The tag under which a private element stands in this header: its creator's element says which block of the group is
-- his (PS3.5 7.8.1). NULL where he has none.
create function private_tag(header jsonb, asked_group text, creator text, element text) returns text
language sql immutable strict parallel safe as $$
    select asked_group || substr(e.key, 7, 2) || element
      from jsonb_each(header) e
     where e.key between asked_group || '0010' and asked_group || '00FF'
       and length(e.key) = 8 and btrim(e.value #>> '{Value,0}') = creator
     order by e.key limit 1
$$;

create table cohort (
    cohort_id  bigint generated always as identity primary key,
    project    text not null default '',          -- name of its project; '' for none
    name       text not null check (name <> ''),
    created_by text not null,
    created_at timestamptz not null default now(),
    unique (project, name)
);

-- A version: a filter and what it selected at one moment. Written once.
create table cohort_version (
    version_id    bigint generated always as identity primary key,
    cohort_id     bigint not null references cohort,
    version       integer not null check (version > 0),
    expression    jsonb not null,                 -- canonical, as asked
    digest        text not null,                  -- SHA-256 of it
    limited_by    jsonb,                          -- `may_see` of the project then; null for none
    as_of         date not null,                  -- what `last_days` counted from
    member_digest text not null,                  -- SHA-256 over its members and what it wants besides
    patients      integer not null,
    studies       integer not null,
    series        integer not null,
    instances     bigint not null,
    bytes         bigint not null,
    wanted_studies   integer not null,            -- listed by a PACS, not all here
    wanted_instances bigint not null,
    frozen_by     text not null,
    why           text not null,
    frozen_at     timestamptz not null default now(),
    unique (cohort_id, version),
    unique (cohort_id, digest, member_digest)
);

-- Its members, block by block: some hundred thousand rows for ten million instances.
create table cohort_member (
    version_id bigint not null references cohort_version,
    block_id   bigint not null references header_block,
    study_instance_uid text not null,             -- of the block; a page of a version's studies is a piece of the index
    instances  integer not null check (instances > 0),
    positions  integer[],                         -- in the block, ascending; null: all of it
    primary key (version_id, block_id)
);
create index on cohort_member (version_id, study_instance_uid) include (instances);
create index on cohort_member (block_id);

-- The same, instance by instance.
create view cohort_instance as
    select m.version_id, i.sop_instance_uid, i.series_instance_uid, i.study_instance_uid, m.block_id, i.block_position
      from cohort_member m
      join instance i on i.block_id = m.block_id and (m.positions is null or i.block_position = any (m.positions));

-- Studies that the filter may take and that are not all here: what to fetch for this version.
create table cohort_wanted (
    version_id         bigint not null references cohort_version,
    pacs               text not null,
    study_instance_uid text not null,
    is_certain         boolean not null,          -- by what the PACS's answer says; false: only the images can tell
    instances          integer,                   -- not here yet; null: the PACS did not say how many it has
    primary key (version_id, pacs, study_instance_uid)
);

create trigger append_only before update or delete or truncate on cohort_version
    for each statement execute function keep_as_written();
create trigger append_only before update or delete or truncate on cohort_member
    for each statement execute function keep_as_written();
create trigger append_only before update or delete or truncate on cohort_wanted
    for each statement execute function keep_as_written();
