-- The registry of models: where each came from, how it was measured, who moved it to which stage and why.
-- Stages: candidate, shadow (reads beside production, and nothing counts what it says), production.

alter table model
    add column data_snapshot text,                -- SHA-256 over the films it was trained on; null: not known
    add column code_revision text,
    add column registered_by text not null default 'sluice',
    add column production_since timestamptz;      -- when it was promoted; null: production since it was registered, or never

-- In production may be several: the newest reads; what it has not read yet is answered by the one before.
create view model_serving as
    select distinct on (task) *
      from model
     where stage = 'production'
     order by task, coalesce(production_since, registered_at) desc, model_id desc;

-- Every move, and every promotion that the gate refused. Appended.
create table model_event (
    event_id bigint generated always as identity primary key,
    model_id text not null references model,
    event    text not null check (event in ('registered', 'shadow', 'production', 'withdrawn', 'rolled-back', 'refused')),
    by       text not null,
    reason   text not null,
    detail   jsonb not null default '{}',         -- what the gate compared
    at       timestamptz not null default now()
);
create index on model_event (model_id, event_id);

-- A model measured on a set of films. Two models are compared on sets of the same digest only.
create table model_evaluation (
    evaluation_id  bigint generated always as identity primary key,
    model_id       text not null references model,
    evaluation_set text not null,                 -- SHA-256 over the films and their labels, in order
    set_name       text not null,
    films          integer not null check (films >= 0),
    patients       integer not null check (patients >= 0),
    metrics        jsonb not null,                -- name -> {value, ci95: [low, high], films}
    answers        jsonb not null,                -- per film: patient as a number, truth and answer; no identifier
    code_revision  text,
    evaluated_at   timestamptz not null default now()
);
create index on model_evaluation (model_id, evaluation_id desc);

-- The answer that counts for an instance and a task: of the newest production model that read it. A shadow's never do.
create view prediction_in_use as
    select p.*
      from prediction p
      join model m on m.model_id = p.model_id and m.stage = 'production'
     where not exists (select
                         from prediction newer
                         join model n on n.model_id = newer.model_id and n.stage = 'production'
                        where newer.sop_instance_uid = p.sop_instance_uid and newer.task = p.task
                          and (coalesce(n.production_since, n.registered_at), n.model_id)
                            > (coalesce(m.production_since, m.registered_at), m.model_id));

create or replace view body_part_reading as
    select p.sop_instance_uid, p.model_id, p.label as router5, p.score as router5_score,
           p.detail ->> 'examined' as examined,
           p.detail -> 'visible'   as visible,       -- JSON array
           p.detail, p.predicted_at, p.block_id, p.block_position
      from prediction_in_use p
     where p.task = 'body_part';

create index on prediction (model_id, predicted_at desc);
