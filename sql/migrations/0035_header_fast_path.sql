-- Films whose body part the header decides with certainty, so that the network is not asked, but for a sample of them.
-- What a header says is never written down as a model's answer: headers are judged by those (`fusion`).
create table header_answer (
    sop_instance_uid text not null,
    model_id         text not null references model,    -- the model that is not asked
    fusion_id        bigint not null references fusion, -- the learning that trusts this header
    source_tag       text not null,                     -- as in header_reliability
    station_name     text not null,
    region_key       text not null,
    router5          text not null,
    reliability      real not null check (reliability between 0 and 1),
    audited          boolean not null,                  -- in the sample: the network is asked nevertheless
    model_region     text,                              -- of an audited film: what the network says
    model_confident  boolean,                           -- and whether it is sure of it
    decided_at       timestamptz not null default now(),
    primary key (sop_instance_uid, model_id)
);
create index on header_answer (source_tag, station_name, decided_at desc) where audited;
create index on header_answer (model_id) where audited and model_region is null;
