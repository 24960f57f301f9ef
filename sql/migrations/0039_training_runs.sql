-- Trainings under way: how far each architecture of a run is. Written over and over while it trains.
create table training_run (
    run_id       text not null,                   -- of train_models
    architecture text not null,
    snapshot     text not null,                   -- SHA-256 of the films, as model.data_snapshot
    state        text not null check (state in ('training', 'measuring', 'done', 'failed')),
    step         integer not null default 0,
    steps        integer not null,
    loss         real,
    model_id     text references model,           -- when it is registered
    started_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now(),
    primary key (run_id, architecture)
);
