-- Reading at a page: who has which film before them, what was put off, and an answer that is taken back.

-- A film is with one reader for some minutes, so that two do not read what one suffices for. Nothing else rests on it:
-- whoever holds a film after its time reads it a second time, no more.
create table annotation_lease (
    task             text not null check (task in ('body_part', 'ivc_filter')),
    sop_instance_uid text not null,
    reader           text not null check (reader <> ''),
    until            timestamptz not null,
    primary key (task, sop_instance_uid, reader)
);
create index on annotation_lease (task, reader);

-- A film that a reader put off: it comes to them again after all others.
create table annotation_skip (
    task             text not null check (task in ('body_part', 'ivc_filter')),
    sop_instance_uid text not null,
    reader           text not null check (reader <> ''),
    skipped_at       timestamptz not null default now(),
    primary key (task, sop_instance_uid, reader)
);

-- Taking an answer back is a fact of its own: the same answer once more, withdrawn.
alter table annotation add column withdrawn boolean not null default false;
create or replace view annotation_now as
    select *
      from (select distinct on (task, sop_instance_uid, reader) *
              from annotation
             order by task, sop_instance_uid, reader, annotation_id desc) newest
     where not withdrawn;
create index on annotation (task, reader, annotation_id desc);
