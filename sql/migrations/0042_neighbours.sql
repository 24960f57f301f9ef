-- Pooled features of the films that a body-part network read, and what follows from who lies near whom: films that are
-- there twice, and films whose label their neighbours contradict.

-- A file of float16 vectors of length 1 below the home's canonical/embeddings/, one row a film; its name is the model's.
create table embedding_matrix (
    model_id text primary key references model,
    width    integer not null check (width > 0),
    size     bigint not null default 0               -- rows; what was erased is zeros that nothing points to
);

create table embedding (
    sop_instance_uid text not null,
    model_id         text not null references embedding_matrix,
    position         bigint not null,                -- row of the matrix
    kept_at          timestamptz not null default now(),
    neighbours       bigint[],                       -- positions of the nearest, nearest first; null: not looked yet
    similarity       real[],                         -- their cosines
    primary key (sop_instance_uid, model_id)
);
create unique index embedding_position on embedding (model_id, position);
create index embedding_to_look on embedding (model_id, position) where neighbours is null;

-- Two films that are one by their pictures; first < second.
create table near_duplicate (
    first_uid   text not null,
    second_uid  text not null,
    similarity  real not null,                       -- cosine of their features
    correlation real not null,                       -- of their pictures, reduced to 64 x 64
    found_at    timestamptz not null default now(),
    primary key (first_uid, second_uid),
    check (first_uid < second_uid)
);
create index on near_duplicate (second_uid);

-- Films whose region, as header or readers say it, is not that of their neighbours. Written anew by each look.
create table label_doubt (
    sop_instance_uid text primary key,
    model_id         text not null references model,
    said             text not null,                  -- region
    origin           text not null check (origin in ('header', 'single', 'agreed', 'adjudicated')),
    suggested        text not null,                  -- region of the neighbours
    share_said       real not null,                  -- of the votes of the neighbours, the nearer the more
    share_suggested  real not null,
    found_at         timestamptz not null default now()
);
