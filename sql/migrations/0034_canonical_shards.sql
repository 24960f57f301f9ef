-- Canonical images stand in append-only shards, 512 x 512 bytes each, in place of a PNG each. Those that were kept as
-- PNG are made anew, when a model or a page next asks for them: they are of an older recipe.

-- A file below the home's canonical/shards/, named by its number.
create table canonical_shard (
    shard_id   bigint generated always as identity primary key,
    created_at timestamptz not null default now(),
    sealed_at  timestamptz                           -- from when on nothing is appended to it
);

delete from canonical_image;
alter table canonical_image
    drop column path,
    drop column created_at,
    alter column source_rows drop not null,
    alter column source_columns drop not null,
    add column recipe       smallint not null,       -- models.preprocess.RECIPE
    add column shard_id     bigint references canonical_shard,
    add column offset_bytes bigint,
    add column length_bytes integer,
    add column digest       bytea,                   -- SHA-256 of those bytes
    add column crop_row     integer,                 -- what of the frame is shown, pixels of the frame; its longer side
    add column crop_column  integer,                 -- fills the 512, its shorter one stands in their middle
    add column crop_rows    integer,
    add column crop_columns integer,
    add column windowing    text,                    -- voi-lut, window or percentile
    add column reason_code  text references reason,  -- why there is no picture
    add column detail       text,
    add column decoded_at   timestamptz not null default now(),
    add constraint canonical_image_or_reason check ((shard_id is null) <> (reason_code is null)),
    add constraint canonical_image_whole check (shard_id is null or (offset_bytes is not null and length_bytes is not null
        and digest is not null and source_rows is not null and source_columns is not null and crop_rows > 0
        and crop_columns > 0 and crop_row is not null and crop_column is not null));
create unique index canonical_image_place on canonical_image (shard_id, offset_bytes);
