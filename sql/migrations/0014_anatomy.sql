-- What headers say about body part, MR sequence and CT phase: what was read is kept once for many series, so that a new
-- word is applied to all of them without a file being opened; words that people teach; and what still waits for one.

-- Everything in a header that these readings look at, kept once for all series that say the same. What is derived from
-- it is a function of this row and of the mappings.
create table anatomy_evidence (
    evidence      bytea primary key,               -- digest of the rest
    modality      text not null,                   -- '' where the header says none
    manufacturer  text not null,
    station_name  text not null,
    elements      jsonb not null,                  -- DICOM JSON by tag; times and angles of MR rounded
    -- What stands there in words, three arrays of one length: where, as written, and normalised (what a mapping matches).
    tags          text[] not null,                 -- e.g. '(0008,103E)'
    said          text[] not null,
    keys          text[] not null,
    first_seen_at timestamptz not null default now(),
    check (cardinality(tags) = cardinality(said) and cardinality(tags) = cardinality(keys))
);
create index on anatomy_evidence using gin (keys);

-- Words that people taught: of those that fit a text, the newest that is not withdrawn holds. Rows are added and
-- withdrawn, never changed otherwise.
create table anatomy_mapping (
    mapping_id    bigint generated always as identity primary key,
    kind          text not null check (kind in ('region', 'mr_sequence', 'ct_phase')),
    key           text not null check (key <> ''),  -- the whole text, normalised as sluice.anatomy.words does it
    said          text not null,                    -- as somebody wrote it
    value         text,                             -- a region, sequence or phase; null: the text says nothing of this kind
    laterality    text check (laterality in ('R', 'L', 'B')),
    view          text,
    source_tag    text,                             -- holds only there; null: wherever it stands
    manufacturer  text,                             -- holds only for what this manufacturer wrote
    station_name  text,
    language      text,                             -- of the word, for lists that hospitals share; no limit
    why           text,
    added_by      text not null,
    added_at      timestamptz not null default now(),
    withdrawn_at  timestamptz,
    withdrawn_by  text,
    applied_at    timestamptz                       -- when all series were read again with it; null or before a withdrawal: not yet
);
create index on anatomy_mapping (kind, key);
create index on anatomy_mapping (mapping_id) where applied_at is null or applied_at < withdrawn_at;

alter table header_anatomy add column evidence bytea references anatomy_evidence;  -- null: read before evidence was kept
alter table header_anatomy add column mapping_id bigint references anatomy_mapping; -- what decided the region, if a mapping did
alter table header_anatomy add column mr_sequence text;               -- null: no MR; 'unknown': an MR that nobody can tell
alter table header_anatomy add column mr_sequence_detail text;        -- e.g. 'STIR', 'MPRAGE', 'DTI'
alter table header_anatomy add column mr_sequence_text text;
alter table header_anatomy add column mr_sequence_source text;
alter table header_anatomy add column mr_sequence_confidence real;
alter table header_anatomy add column mr_contrast boolean;            -- null: not said
alter table header_anatomy add column mr_contrast_text text;
alter table header_anatomy add column mr_contrast_source text;
alter table header_anatomy add column mr_contrast_confidence real;
alter table header_anatomy add column mr_fat_suppressed boolean;      -- null: not said
alter table header_anatomy add column mr_fat_suppressed_text text;
alter table header_anatomy add column mr_fat_suppressed_source text;
alter table header_anatomy add column mr_fat_suppressed_confidence real;
alter table header_anatomy add column ct_phase text;                  -- null: no CT; plain, enhanced, angiographic, localizer, unknown
alter table header_anatomy add column ct_phase_detail text;           -- arterial, portal venous, delayed
alter table header_anatomy add column ct_phase_text text;
alter table header_anatomy add column ct_phase_source text;
alter table header_anatomy add column ct_phase_confidence real;
alter table header_anatomy add column phase_mapping_id bigint references anatomy_mapping; -- what decided sequence or phase
create index on header_anatomy (evidence);
create index on header_anatomy (region_key);
create index on header_anatomy (mr_sequence) where mr_sequence is not null;
create index on header_anatomy (ct_phase) where ct_phase is not null;

-- What waits for a word: each text of a series that is undecided, counted.
create table anatomy_pile (
    kind         text not null,
    source_tag   text not null,
    key          text not null,
    modality     text not null,
    station_name text not null,
    said         text not null,
    series       bigint not null,
    last_seen    date,                              -- newest series date that was counted
    primary key (kind, key, source_tag, modality, station_name)
);

-- Of what a series is undecided: nothing was recognised, or so little that somebody should look.
create function undecided(a header_anatomy, modality text) returns setof text language sql immutable as $$
    select 'region' where (a.sct_code is null or a.confidence < 0.5) and modality not in
        ('SR', 'KO', 'PR', 'DOC', 'REG', 'FID', 'SEG', 'RTPLAN', 'RTSTRUCT', 'RTDOSE', 'RTRECORD', 'AU', 'ECG', 'HD', 'PLAN')
    union all
    select 'mr_sequence' where a.mr_sequence = 'unknown' or a.mr_sequence_confidence < 0.5
    union all
    select 'ct_phase' where a.ct_phase = 'unknown' or a.ct_phase_confidence < 0.5
$$;

-- Kept up by the database itself, whoever writes: one statement counts its rows up or down at once. Writers of the pile
-- go one after the other until they commit; `header_anatomy` is the last that a transaction writes.
create function pile_up() returns trigger language plpgsql as $$
declare
    direction integer := tg_argv[0];
begin
    perform pg_advisory_xact_lock(7350014);
    insert into anatomy_pile as p (kind, source_tag, key, modality, station_name, said, series, last_seen)
    select k.kind, w.tag, w.key, e.modality, e.station_name, min(w.said), direction * count(*), max(s.series_date)
      from changed a
      join anatomy_evidence e using (evidence)
      join series s using (series_instance_uid)
     cross join lateral undecided(a.*::header_anatomy, e.modality) as k(kind)
     cross join lateral unnest(e.tags, e.keys, e.said) as w(tag, key, said)
     where case when k.kind = 'region' then w.tag not in ('(0018,0024)', '(0018,9005)', '(0018,0010)')
                else w.tag not in ('(0018,0015)', '(0020,4000)', '(0018,1400)', '(0008,2218)', '(0008,2220)') end
     group by k.kind, w.tag, w.key, e.modality, e.station_name
    on conflict (kind, key, source_tag, modality, station_name) do update
       set series = p.series + excluded.series, last_seen = greatest(p.last_seen, excluded.last_seen);
    if direction < 0 then
        delete from anatomy_pile p using
               (select distinct e.modality, e.station_name, w.tag, w.key from changed a
                  join anatomy_evidence e using (evidence)
                 cross join lateral unnest(e.tags, e.keys) as w(tag, key)) gone
         where p.series <= 0 and (p.key, p.source_tag, p.modality, p.station_name)
                               = (gone.key, gone.tag, gone.modality, gone.station_name);
    end if;
    return null;
end $$;
create trigger pile_1_insert after insert on header_anatomy
    referencing new table as changed for each statement execute function pile_up('1');
create trigger pile_1_update after update on header_anatomy
    referencing old table as changed for each statement execute function pile_up('-1');
create trigger pile_2_update after update on header_anatomy
    referencing new table as changed for each statement execute function pile_up('1');
create trigger pile_1_delete after delete on header_anatomy
    referencing old table as changed for each statement execute function pile_up('-1');
