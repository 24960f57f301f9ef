-- Releases as versions of a data set: files of several kinds, objects of earlier versions, tables, a signed manifest.

-- What of a release stands in the bucket: DICOM files, and what was derived of them.
alter table released_object drop constraint released_object_pkey;
alter table released_object alter column sop_instance_uid drop not null;     -- none where it is made of several
alter table released_object add primary key (release_id, object_key);
alter table released_object
    add column kind          text not null default 'dicom' check (kind in ('dicom', 'png', 'nifti')),
    add column source_sha256 text,        -- of what it was made of: the file as received, or the de-identified one
    add column recipe        text,        -- how a derived one was made; the same source and recipe are the same bytes
    add column sources       text[];      -- SOP Instance UIDs that a derived one shows
create unique index released_object_dicom on released_object (release_id, sop_instance_uid) where kind = 'dicom';
create index on released_object using gin (sources) where sources is not null;
update released_object o set source_sha256 = r.sha256 from receipt r where r.sop_instance_uid = o.sop_instance_uid;

alter table release
    add column line        text,          -- versions of one line contain each other: 'windows', or one cohort
    add column formats     text[] not null default '{dicom}',
    add column asked       jsonb,         -- the project's filter as it was, where it names nobody
    add column anonymity   jsonb,         -- k and policy as the project's file had them
    add column anonymity_report jsonb,    -- how many persons share what the tables say of one; sluice.release.anonymity
    add column signed_by   text;          -- id of the key that signed the manifest
update release set line = case when window_key like 'cohort/%' then window_key else 'windows' end;
alter table release alter column line set not null;
alter table release alter column line set default 'windows';
create index on release (project, line, version);

-- What a published version contains besides its own: the newest version of each other window of its line.
create table release_content (
    release_id bigint not null references release,
    contains   bigint not null references release,
    primary key (release_id, contains)
);
create index on release_content (contains);

-- What a derivation came to, for each thing that was asked of it: done, or why not. Asked again, only the rest is done.
create table release_derivation (
    release_id  bigint not null references release,
    kind        text not null check (kind in ('png', 'nifti')),
    source      text not null,            -- SOP Instance UID of a png, Series Instance UID of a nifti
    reason_code text,                     -- null: done
    detail      text,
    derived_at  timestamptz not null default now(),
    primary key (release_id, kind, source)
);

-- Every object of a version: its own and those of the versions that it contains, each once (by its path in a version's
-- folder), as the newest of them has it. What a newer one of them holds back is left out.
create function objects_of_release(which bigint)
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
     order by v.path, c.version desc
$$;
