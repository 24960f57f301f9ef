-- Cohorts: what a filter selected, frozen into versions; and what filters over header blocks need to be quick.

-- Filters read the columns of every block. What is large goes out of line, and what every filter joins by never does.
alter table header_block set (toast_tuple_target = 512);
alter table header_block
    alter column series_instance_uid set storage main,
    alter column study_instance_uid set storage main,
    alter column sop_class_uid set storage main,
    alter column transfer_syntax_uid set storage main;

-- Joins and counts of filters go by numbers: a UID of 64 characters costs five times as much to hash and compare. The
-- database gives and copies them itself, whoever writes.
alter table study add column study_key bigint generated always as identity;
alter table series add column series_key bigint generated always as identity;
create unique index on study (study_key);
create unique index on series (series_key);
alter table header_block add column study_key bigint, add column series_key bigint;
alter table header_anatomy add column series_key bigint;
create function note_keys_of_block() returns trigger language plpgsql as $$
begin
    select s.series_key into new.series_key from series s where s.series_instance_uid = new.series_instance_uid;
    select s.study_key into new.study_key from study s where s.study_instance_uid = new.study_instance_uid;
    return new;
end $$;
create function note_key_of_series() returns trigger language plpgsql as $$
begin
    select s.series_key into new.series_key from series s where s.series_instance_uid = new.series_instance_uid;
    return new;
end $$;
create trigger note_keys before insert on header_block for each row execute function note_keys_of_block();
create trigger note_key before insert on header_anatomy for each row execute function note_key_of_series();
update header_block b set series_key = s.series_key from series s where s.series_instance_uid = b.series_instance_uid;
update header_block b set study_key = s.study_key from study s where s.study_instance_uid = b.study_instance_uid;
alter table header_anatomy disable trigger user;  -- what waits for a word does not change by this
update header_anatomy a set series_key = s.series_key from series s where s.series_instance_uid = a.series_instance_uid;
alter table header_anatomy enable trigger user;

-- What is said of single instances names their place in a block, so that filters need not look it up in `instance`.
alter table quality_finding add column block_id bigint, add column block_position integer;
alter table prediction add column block_id bigint, add column block_position integer;
create function note_place() returns trigger language plpgsql as $$
begin
    if new.sop_instance_uid is not null then
        select i.block_id, i.block_position into new.block_id, new.block_position
          from instance i where i.sop_instance_uid = new.sop_instance_uid;
    end if;
    return new;
end $$;
create trigger note_place before insert on quality_finding for each row execute function note_place();
create trigger note_place before insert on prediction for each row execute function note_place();
update quality_finding f set block_id = i.block_id, block_position = i.block_position
  from instance i where i.sop_instance_uid = f.sop_instance_uid and i.block_id is not null;
update prediction p set block_id = i.block_id, block_position = i.block_position
  from instance i where i.sop_instance_uid = p.sop_instance_uid and i.block_id is not null;
-- An instance that was indexed before blocks were gets its block later.
create function pass_place_on() returns trigger language plpgsql as $$
begin
    update quality_finding set block_id = new.block_id, block_position = new.block_position
     where level = 'instance' and object = new.sop_instance_uid;
    update prediction set block_id = new.block_id, block_position = new.block_position
     where sop_instance_uid = new.sop_instance_uid;
    return null;
end $$;
create trigger pass_place_on after update of block_id, block_position on instance
    for each row when (old.block_id is distinct from new.block_id) execute function pass_place_on();

-- How many instances a PACS says a study has, and how many of it are here: both from an index alone.
alter table found_study add column listed integer generated always as (
    case when answer #>> '{00201208,Value,0}' ~ '^[0-9]{1,7}$' then (answer #>> '{00201208,Value,0}')::integer end) stored;
create index found_study_listed on found_study (study_instance_uid) include (listed, pacs, window_key);
create index header_block_of_study on header_block (study_instance_uid) include (instances);
drop index if exists header_block_study_instance_uid_idx;

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
