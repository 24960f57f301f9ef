-- Researchers' lists: what was uploaded, and an answer for every row. The rows name patients: whoever may read these
-- tables may know who was examined, as with study and found_study.

create table cohort_list (
    list_id     bigint generated always as identity primary key,
    project     text not null,
    name        text not null,                    -- of the cohort; its window is cohort/<project>/<name>
    file_name   text not null,
    sha256      text not null,                    -- of the file as it was uploaded; the file itself is not kept
    columns     jsonb not null,                   -- what is understood, to the headings that say it
    ignored     integer not null,                 -- headings that are not understood
    uploaded_by text not null,
    uploaded_at timestamptz not null default now(),
    answered_at timestamptz,                      -- when its rows were last compared with what is known
    unique (project, name)
);

create table cohort_list_row (
    list_id          bigint not null references cohort_list on delete cascade,
    line             integer not null,            -- in the file or sheet, from 1
    accession        text,                        -- keys as understood; none where the row was refused when it was read
    patient_id       text,
    study_uid        text,
    starts_on        date,
    ends_on          date,
    same_as          integer,                     -- an earlier line asks for the same, and is asked in its place
    note             text,                        -- how it was read, where a person should know
    answer           text not null default 'not-yet'
                     check (answer in ('found', 'several', 'not-found', 'not-yet', 'refused')),
    reason           text,                        -- why refused, or what the PACS said; never an identifier
    studies          integer not null default 0,  -- that match
    instances_here   integer not null default 0,  -- of these studies
    instances_listed integer not null default 0,  -- as a PACS lists them
    asked_at         timestamptz,                 -- when a PACS last answered for this row
    updated_at       timestamptz not null default now(),
    primary key (list_id, line)
);
create index on cohort_list_row (list_id, answer, line);

-- Which studies a row stands for.
create table cohort_list_study (
    list_id            bigint not null,
    line               integer not null,
    study_instance_uid text not null,
    asked              boolean not null,          -- a PACS gave it for this row; else what is known says so
    primary key (list_id, line, study_instance_uid),
    foreign key (list_id, line) references cohort_list_row on delete cascade
);
create index on cohort_list_study (list_id, study_instance_uid);

-- A list is compared with everything that was ever found.
create index on found_study (study_instance_uid);
create index on found_study ((answer #>> '{00080050,Value,0}'));
create index on found_study ((answer #>> '{00100020,Value,0}'));

-- A release of a frozen cohort says of which version.
alter table release add column cohort_version_id bigint references cohort_version;
