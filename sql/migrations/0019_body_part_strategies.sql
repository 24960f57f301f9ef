-- Searching by body part: what the header says, what the newest production model says, and what both say together.
-- `sluice.anatomy.strategies` compiles a search from these; docs/strategies.md says which one to pick.

create index on header_anatomy (region_key);
create index on header_anatomy (sct_code);           -- a composite (chest and abdomen) is found by its code
create index prediction_examined on prediction ((detail ->> 'examined')) where task = 'body_part';
create index prediction_visible on prediction using gin ((detail -> 'visible')) where task = 'body_part';

-- The answer that counts for an instance: of the newest production model that read it. While a new model still reads,
-- the one before stands; a model that is taken out of production takes its answers with it.
create view body_part_reading as
    select p.sop_instance_uid, p.model_id, p.label as router5, p.score as router5_score,
           p.detail ->> 'examined' as examined,
           p.detail -> 'visible'   as visible,       -- JSON array
           p.detail, p.predicted_at
      from prediction p
      join model m on m.model_id = p.model_id and m.stage = 'production'
     where p.task = 'body_part'
       and not exists (select
                         from prediction newer
                         join model n on n.model_id = newer.model_id and n.stage = 'production'
                        where newer.sop_instance_uid = p.sop_instance_uid and newer.task = 'body_part'
                          and (n.registered_at, n.model_id) > (m.registered_at, m.model_id));

-- How far headers are to be believed beside a model, as learned from the films that it read.
-- Appended: an answer below names the learning it was made with.
create table fusion (
    fusion_id  bigint generated always as identity primary key,
    model_id   text not null references model,
    films      integer not null check (films >= 0),
    parameters jsonb not null,                       -- `sluice.anatomy.fusion.Beliefs`
    learned_at timestamptz not null default now()
);
create index on fusion (model_id, fusion_id desc);

-- How often the header was right by its source and its scanner, as that learning believes; station '' is all of them,
-- source '' every source.
create table header_reliability (
    fusion_id    bigint not null references fusion on delete cascade,
    source_tag   text not null,                      -- as in header_anatomy
    doubtful     boolean not null,                   -- the reading of its words was unsure (header_anatomy.confidence)
    station_name text not null default '',
    films        integer not null,
    agreeing     integer not null,                   -- the model's single answer is (one of) the header's
    reliability  real not null check (reliability between 0 and 1),
    primary key (fusion_id, source_tag, doubtful, station_name)
);

-- The likeliest region by header and model together. Only where a model answered; elsewhere the header stands alone.
create table fused_anatomy (
    sop_instance_uid text not null,
    model_id         text not null references model,
    fusion_id        bigint not null references fusion,
    region_key       text not null,                  -- sluice/anatomy regions
    probability      real not null check (probability between 0 and 1),
    fused_at         timestamptz not null default now(),
    primary key (sop_instance_uid, model_id)
);
create index on fused_anatomy (region_key, probability);

-- Everything said of an instance's body part, side by side.
create view body_part_answer as
    select i.sop_instance_uid, i.series_instance_uid, i.study_instance_uid,
           a.region_key as header_region,            -- the first of a composite's; header_code names the composite
           a.sct_code   as header_code,
           a.source_tag as header_source,
           r.model_id,
           r.examined   as examined_region,
           case when jsonb_typeof(r.visible) = 'array'
                then array(select jsonb_array_elements_text(r.visible)) end as visible_regions,
           f.region_key as fused_region,
           f.probability as fused_probability
      from instance i
      left join header_anatomy a on a.series_instance_uid = i.series_instance_uid
      left join body_part_reading r on r.sop_instance_uid = i.sop_instance_uid
      left join fused_anatomy f on f.sop_instance_uid = r.sop_instance_uid and f.model_id = r.model_id;

-- What the strategies are worth here: evaluations on labelled films of this site, appended.
create table strategy_evaluation (
    evaluation_id bigint generated always as identity primary key,
    truth_name    text not null,                     -- file name of the labels, without its folder
    truth_sha256  text not null,
    model_id      text references model,             -- whose answers most of the films had; null when none had any
    films         integer not null,
    patients      integer not null,
    evaluated_at  timestamptz not null default now()
);
create table strategy_measure (
    evaluation_id bigint not null references strategy_evaluation on delete cascade,
    strategy      text not null,                     -- header, examined, visible, union, intersection, fused
    region_key    text not null,                     -- a region, or 'macro' or 'micro' over all of them
    positives     integer not null,                  -- films that truly show the region
    found         integer not null,                  -- films that the strategy finds
    hits          integer not null,                  -- films that are both
    precision     double precision,                  -- null: nothing found
    recall        double precision,                  -- null: nothing to find
    f1            double precision,
    precision_ci  double precision[],                -- 95 %, by resampling patients
    recall_ci     double precision[],
    f1_ci         double precision[],
    primary key (evaluation_id, strategy, region_key)
);
