create table model (
    model_id       text primary key,              -- '<task>-<architecture>-<first 12 of weights digest>'
    task           text not null check (task in ('body_part', 'ivc_filter')),
    architecture   text not null,
    weights_sha256 text not null,
    card           jsonb not null,                -- measured figures, sources, licences
    stage          text not null default 'production' check (stage in ('candidate', 'shadow', 'production')),
    registered_at  timestamptz not null default now()
);

create table prediction (
    sop_instance_uid text not null,
    model_id         text not null references model,
    task             text not null,
    label            text not null,               -- router5 class; 'present'/'absent' for ivc_filter
    score            real not null,
    detail           jsonb not null,              -- examined region, visible regions, boxes, probabilities
    predicted_at     timestamptz not null default now(),
    primary key (sop_instance_uid, model_id)
);
create index on prediction (task, label);

-- The one decode at ingest: a 512-pixel 8-bit canonical image that models, pages and reviewers read.
create table canonical_image (
    sop_instance_uid text primary key,
    path             text not null,               -- relative to the home's canonical/ folder, PNG
    source_rows      integer not null,
    source_columns   integer not null,
    created_at       timestamptz not null default now()
);

create table release (
    release_id     bigint generated always as identity primary key,
    project        text not null,
    version        integer not null,
    window_key     text not null,
    profile        jsonb not null,                -- profile name, options, table edition, key id
    member_digest  text not null,                 -- SHA-256 over the frozen member list and the profile
    bucket         text not null,
    prefix         text not null,                 -- '<project>/v<N>/'
    started_at     timestamptz not null default now(),
    verified_at    timestamptz,                   -- every object was read back from the bucket and is right
    manifest_key   text,
    manifest_sha256 text,
    published_at   timestamptz,                   -- set after the manifest is in the bucket
    unique (project, version)
);
create unique index on release (project, window_key, member_digest);

create table release_member (
    release_id       bigint not null references release,
    sop_instance_uid text not null,
    held_reason      text references reason,      -- set where the profile or the re-read held it
    held_detail      text,
    primary key (release_id, sop_instance_uid)
);

create table released_object (
    release_id       bigint not null references release,
    sop_instance_uid text not null,
    object_key       text not null,
    bytes            bigint not null,
    sha256           text not null,
    columns          jsonb not null default '{}', -- what instances.csv says of it, read from the produced file
    verified_at      timestamptz,                 -- the independent re-read passed
    uploaded_at      timestamptz,
    primary key (release_id, sop_instance_uid)
);
