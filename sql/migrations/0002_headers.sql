-- Headers: what people filter by in typed columns, everything as DICOM JSON (PS3.18 Annex F) beside it.
-- Raw values stay as the scanner wrote them; normalised ones stand in their own tables.

create table study (
    study_instance_uid   text primary key,
    patient_id           text,
    patient_id_issuer    text,
    patient_name         text,
    patient_birth_date   date,
    patient_sex          text,
    accession_number     text,
    study_id             text,
    study_date           date,
    study_time           time,
    study_description    text,
    institution_name     text,
    first_indexed_at     timestamptz not null default now()
);
create index on study (patient_id);
create index on study (accession_number);
create index on study (study_date);

create table series (
    series_instance_uid  text primary key,
    study_instance_uid   text not null references study,
    modality             text,
    series_number        integer,
    series_date          date,
    series_time          time,
    series_description   text,
    protocol_name        text,
    body_part_examined   text,
    laterality           text,
    manufacturer         text,
    model_name           text,
    station_name         text,
    device_serial_number text,
    software_versions    text,
    first_indexed_at     timestamptz not null default now()
);
create index on series (study_instance_uid);
create index on series (modality);

create table instance (
    sop_instance_uid     text primary key,
    series_instance_uid  text not null references series,
    study_instance_uid   text not null,
    sop_class_uid        text not null,
    transfer_syntax_uid  text not null,
    patient_id           text,                    -- as this instance says; a study with two is a finding
    instance_number      integer,
    image_type           text[],
    acquired_at          timestamp,               -- local time by the scanner's own clock, from the header
    content_at           timestamp,
    stored_in_pacs_at    timestamptz,             -- Instance Coercion DateTime (0008,0015), the PACS's clock
    timezone_offset      text,                    -- (0008,0201)
    patient_age_years    real,                    -- from (0010,1010), else birth date and study date
    view_position        text,
    image_laterality     text,
    rows                 integer,
    columns              integer,
    number_of_frames     integer,
    bits_stored          integer,
    photometric_interpretation text,
    pixel_spacing        double precision[],      -- mm, row then column
    slice_thickness      double precision,        -- mm
    exposure_time        double precision,        -- ms
    burned_in_annotation text,
    header               jsonb not null,          -- DICOM JSON, pixel data left out
    indexed_at           timestamptz not null default now()
);
create index on instance (series_instance_uid);
create index on instance (study_instance_uid);

-- Body region from the header's words (examined), one row per series, with where it was read.
create table header_anatomy (
    series_instance_uid text primary key references series,
    region_key          text,                     -- sluice/anatomy regions; null = nothing recognised
    sct_code            text,
    laterality          text check (laterality in ('R', 'L', 'B')),
    view                text,
    matched_text        text,
    source_tag          text,                     -- e.g. '(0018,0015)'
    confidence          real not null,
    derived_at          timestamptz not null default now()
);

-- Quality: one row per instance checked, one per finding.
create table quality_check (
    sop_instance_uid text primary key,
    window_key       text not null,
    suite_version    text not null,
    checked_at       timestamptz not null default now()
);
create table quality_finding (
    finding_id          bigint generated always as identity primary key,
    window_key          text not null,
    rule                text not null,
    severity            text not null check (severity in ('warn', 'quarantine', 'stop')),
    level               text not null check (level in ('study', 'series', 'instance')),
    study_instance_uid  text,
    series_instance_uid text,
    sop_instance_uid    text,
    observed            text,                     -- what was seen, never a patient's identifier
    found_at            timestamptz not null default now()
);
create index on quality_finding (window_key);
create index on quality_finding (sop_instance_uid);
create index on quality_finding (study_instance_uid);

-- Scanner reports, one row per window and scanner; written again by a later run of the same window.
-- A scanner is known by modality, manufacturer and device serial number, else station name.
create table scanner_utilization (
    window_key      text not null,
    scanner         text not null,                -- station name, else serial
    modality        text,
    exams           integer not null,
    patients        integer not null,
    busy_minutes    double precision not null,    -- sum of encounters
    open_minutes    double precision not null,    -- opening hours of that day, from settings
    utilization     double precision not null,    -- busy / open, 0..1 (may pass 1 beyond opening hours)
    first_start     timestamp,
    last_end        timestamp,
    largest_gap_minutes double precision,
    reported_at     timestamptz not null default now(),
    primary key (window_key, scanner)
);
create table clock_offset (
    window_key    text not null,
    scanner       text not null,
    modality      text,
    samples       integer not null,
    offset_s      double precision,               -- scanner clock minus reference, seconds; null when too few samples
    spread_s      double precision,               -- robust spread of the residuals, seconds
    drift_s_per_day double precision,
    reference     text not null,                  -- 'pacs' (0008,0015), 'receiver', 'none'
    suspected     text,                           -- 'dst', 'timezone', 'none'
    reported_at   timestamptz not null default now(),
    primary key (window_key, scanner)
);
