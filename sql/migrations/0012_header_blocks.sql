-- Whole headers, stored once for many instances: a block holds instances of one series that were extracted together and
-- agree in what people filter by. A block is written once and never changed; what arrives later forms a block of its own.

create table header_block (
    block_id             bigint generated always as identity primary key,
    series_instance_uid  text not null references series,
    study_instance_uid   text not null,           -- as the instances say; a series that names two has two blocks
    instances            integer not null check (instances > 0),
    file_bytes           bigint not null,         -- of their files, pixels included
    -- What all instances of the block have alike. A filter on these looks at blocks, not at instances.
    sop_class_uid        text not null,
    transfer_syntax_uid  text not null,
    image_type           text[],
    patient_age_years    real,
    view_position        text,
    image_laterality     text,
    rows                 integer,
    columns              integer,
    number_of_frames     integer,
    bits_stored          integer,
    photometric_interpretation text,
    pixel_spacing        double precision[],      -- mm, row then column
    slice_thickness      double precision,        -- mm
    burned_in_annotation text,
    shared               jsonb not null,          -- DICOM JSON (PS3.18 F) of the elements that are alike, pixel data left out
    content              bytea not null,          -- the headers' own bytes one after another, zstd; see sluice.headers.blocks
    extracted_at         timestamptz not null default now()
);
create index on header_block (series_instance_uid);
create index on header_block (study_instance_uid);
create index on header_block (extracted_at);

-- The elements in which the instances of a block differ, one row a tag, values in the order of the instances' positions.
create table header_difference (
    block_id bigint not null references header_block on delete cascade,
    tag      text not null,                       -- eight hex digits, as DICOM JSON writes it
    elements jsonb not null,                      -- array as long as the block; null where an instance lacks the element
    primary key (block_id, tag)
);
create index on header_difference (tag);

-- Where an instance's header is. Null: indexed before blocks were, or not read yet; the next extraction reads it.
alter table instance add column block_id bigint references header_block;
alter table instance add column block_position integer;      -- from 0
-- Pixels as far as a header's reading sees them: their length, and a digest of pieces of them. Equal digests are
-- candidates for equal pixels, which only the whole proves; different ones are different pixels.
alter table instance add column pixel_bytes bigint;
alter table instance add column pixel_digest bytea;
create index on instance (block_id);
create index on instance (pixel_digest) where pixel_digest is not null;
