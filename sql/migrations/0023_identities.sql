-- Identities: which key a project has used, what each patient was given, who stands behind a pseudonym (encrypted),
-- who asked for that, and synthetic patients that prove it.

-- Keys by fingerprint; the keys themselves are never here. The newest one must be at hand for a new version.
create table project_key (
    project           text not null,
    key_id            text not null,              -- fingerprint, 16 hex digits
    number            integer,                    -- null: used before keys had numbers
    first_used_at     timestamptz not null default clock_timestamp(),
    backup_checked_at timestamptz,                -- a copy elsewhere was last compared with it
    lost_at           timestamptz,                -- a person said that it is lost for good
    lost_why          text,
    primary key (project, key_id)
);
insert into project_key (project, key_id, first_used_at)
    select project, profile ->> 'key_id', min(started_at)
      from release
     where profile ->> 'key_id' is not null
     group by project, profile ->> 'key_id';

-- What a patient was given, once and for ever. The index is an HMAC under the project's key: it finds, and names nobody.
create table subject (
    subject_id    bigint generated always as identity primary key,
    project       text not null,
    key_id        text not null,
    patient_index bytea not null,
    pseudonym     text not null,
    shift_days    integer not null,               -- added to each of the patient's dates
    given_at      timestamptz not null default now(),
    unique (project, key_id, patient_index),
    unique (project, key_id, pseudonym)
);

-- Which subject each patient of a release is: frozen with its members, so that a merge touches later versions only.
create table release_subject (
    release_id    bigint not null references release,
    patient_index bytea not null,
    subject_id    bigint not null references subject,
    primary key (release_id, patient_index)
);
alter table release
    add column identified_at timestamptz;         -- its subjects and its linkage are written

-- Two Patient IDs that are one person (HL7 A40), as a person or the hospital's system said. The newest row of a prior
-- identity counts; without a surviving one it stands for itself again.
create table patient_merge (
    merge_id         bigint generated always as identity primary key,
    prior_id         text not null,
    prior_issuer     text not null default '',
    surviving_id     text,
    surviving_issuer text not null default '',
    said_by          text not null,
    said_at          timestamptz not null default now(),
    check (surviving_id is null or (prior_id, prior_issuer) <> (surviving_id, surviving_issuer))
);
create index on patient_merge (prior_id, prior_issuer, merge_id desc);
create function no_change() returns trigger language plpgsql as $$
begin
    raise exception 'rows of % are never changed or deleted', tg_table_name using errcode = 'insufficient_privilege';
end $$;
create trigger patient_merge_stays before update or delete or truncate on patient_merge
    for each statement execute function no_change();

-- Who stands behind a pseudonym. A schema of its own, so that it can belong to a role of its own.
create schema linkage;
comment on schema linkage is 'Who stands behind pseudonyms: encrypted with the projects'' keys. See docs/identities.md.';
create table linkage.entry (
    project         text not null,
    key_id          text not null,
    pseudonym_index bytea not null,               -- HMAC of the pseudonym
    original_index  bytea not null,               -- HMAC of what it stands for: the same pseudonym for another is refused
    kind            text not null check (kind in ('patient', 'accession', 'study', 'series', 'instance')),
    sealed          bytea not null,               -- AES-256-GCM: nonce, ciphertext, tag
    recorded_at     timestamptz not null default now(),
    primary key (project, key_id, pseudonym_index)
);

-- Inserting needs no right to select: what is there already is passed over here, and a collision is refused.
create function linkage.refuse_collision() returns trigger
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    there bytea;
begin
    select original_index into there
      from linkage.entry
     where (project, key_id, pseudonym_index) = (new.project, new.key_id, new.pseudonym_index);
    if there is null then
        return new;
    end if;
    if there <> new.original_index then
        raise exception 'a pseudonym of project % stands for something else already', new.project
            using errcode = 'unique_violation', hint = 'Rotate the key of the project.';
    end if;
    return null;
end $$;
create trigger no_collision before insert on linkage.entry
    for each row execute function linkage.refuse_collision();

-- Every question, written before its answer is given. Rows are chained, so that one that is missing is missed.
create table linkage.disclosure (
    disclosure_id bigint generated always as identity primary key,
    asked_at      timestamptz not null,
    asked_by      text not null,                  -- the person, as the program knows them
    database_user text not null,                  -- as Postgres knows them
    project       text not null,
    direction     text not null check (direction in ('reidentify', 'pseudonym')),
    why           text not null check (length(btrim(why)) >= 10),
    asked         integer not null,
    found         integer not null,
    pseudonyms    text[] not null,                -- what was asked for, or given; never an identifier
    chain         bytea not null                  -- SHA-256 over the chain before and this row
);
create function linkage.chained(before bytea, d linkage.disclosure) returns bytea language sql immutable as $$
    select sha256(before || convert_to(jsonb_build_array(extract(epoch from d.asked_at), d.asked_by, d.database_user,
        d.project, d.direction, d.why, d.asked, d.found, d.pseudonyms)::text, 'UTF8'))
$$;
create function linkage.chain() returns trigger
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    lock table linkage.disclosure in share row exclusive mode;
    new.asked_at := clock_timestamp();
    new.database_user := session_user;
    new.chain := linkage.chained(
        coalesce((select d.chain from linkage.disclosure d order by d.disclosure_id desc limit 1), ''), new);
    return new;
end $$;
create trigger chain before insert on linkage.disclosure
    for each row execute function linkage.chain();
create function linkage.no_change() returns trigger language plpgsql as $$
begin
    raise exception 'rows of linkage.% are never changed or deleted', tg_table_name
        using errcode = 'insufficient_privilege';
end $$;
create trigger disclosure_stays before update or delete or truncate on linkage.disclosure
    for each statement execute function linkage.no_change();

-- Whether each row still follows from the one before.
create view linkage.disclosure_log as
    select d.*,
           d.chain = linkage.chained(coalesce(lag(d.chain) over (order by d.disclosure_id), ''), d) as is_chained
      from linkage.disclosure d;

-- The schema to the role `sluice_linkage`, and to the pipeline's user only what writing needs. Says what is lacking.
create function linkage.give_to_role(pipeline name) returns text language plpgsql as $$
declare
    is_super boolean := (select rolsuper from pg_roles where rolname = current_user);
begin
    if not exists (select from pg_roles where rolname = 'sluice_linkage') then
        begin
            create role sluice_linkage nologin;
        exception
            when insufficient_privilege then
                return 'the role sluice_linkage is missing, and this user may not create it';
            when duplicate_object or unique_violation then
                null;   -- another database of this server was migrated at the same moment
        end;
    end if;
    begin
        if not is_super then
            execute format('grant sluice_linkage to %I', current_user);
        end if;
        grant create on schema linkage to sluice_linkage;
        grant select on subject, patient_merge to sluice_linkage;
        alter table linkage.entry owner to sluice_linkage;
        alter table linkage.disclosure owner to sluice_linkage;
        alter view linkage.disclosure_log owner to sluice_linkage;
        alter function linkage.refuse_collision() owner to sluice_linkage;
        alter function linkage.chained(bytea, linkage.disclosure) owner to sluice_linkage;
        alter function linkage.chain() owner to sluice_linkage;
        alter function linkage.no_change() owner to sluice_linkage;
        alter function linkage.give_to_role(name) owner to sluice_linkage;
        alter schema linkage owner to sluice_linkage;
        -- after the change of owner, which takes what the owner had with it
        execute format('grant usage on schema linkage to %I', pipeline);
        execute format('grant insert on linkage.entry to %I', pipeline);
        if not is_super then
            execute format('revoke sluice_linkage from %I', current_user);
        end if;
    exception when insufficient_privilege then
        return 'the role sluice_linkage exists, and this user may not give it the schema linkage';
    end;
    return null;
end $$;
do $$
declare
    lacks text := linkage.give_to_role(current_user);
begin
    if lacks is not null then
        raise notice 'linkage is not separate yet: %. See docs/identities.md.', lacks;
    end if;
end $$;

-- Synthetic patients of a project, and what must never be seen of them in what leaves.
create table canary (
    canary_id          bigint generated always as identity primary key,
    project            text not null,
    window_key         text,                      -- of the import that brought it; null where it came by C-STORE
    patient_id         text not null,
    issuer             text not null default '',
    study_instance_uid text not null unique,
    tokens             text[] not null,
    added_by           text not null,
    added_at           timestamptz not null default now(),
    retired_at         timestamptz
);
create table canary_instance (
    sop_instance_uid text primary key,
    canary_id        bigint not null references canary
);
create index on canary_instance (canary_id);

-- What became of a canary in one part of a release.
create table canary_probe (
    probe_id         bigint generated always as identity primary key,
    release_id       bigint not null references release,
    sop_instance_uid text not null references canary_instance,
    outcome          text not null check (outcome in ('clean', 'held', 'leaked')),
    places           text[] not null default '{}',  -- where a token was seen, or why it was held; never a token
    object_key       text,
    sha256           text,
    read_back_at     timestamptz,                 -- read back from the bucket, and clean
    probed_at        timestamptz not null default clock_timestamp()
);
create index on canary_probe (release_id);
insert into reason (reason_code, step, meaning, advice) values
    ('canary', 'released', 'A synthetic patient: it proves each release and is given to nobody.', 'Nothing to do.');
