-- What filters ask of blocks, in one narrow row a block: what stands above a block (patient, study, series, anatomy) is
-- copied into it, so that a preview of ten million instances reads some 60 MB and joins nothing. The database keeps it up
-- itself, whoever writes: a statement's rows at once.

-- A patient as a number: of Patient ID with its issuer, 64 bits of SHA-256. Two of a million patients are one with a
-- probability of 3 in 100 million. Null: no Patient ID.
create function patient_key(patient_id text, issuer text) returns bigint language sql immutable parallel safe as $$
    select ('x' || encode(substr(sha256(convert_to(patient_id || chr(31) || coalesce(issuer, ''), 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint
$$;
alter table study add column patient_key bigint
    generated always as (patient_key(patient_id, patient_id_issuer)) stored;
create index on study (patient_key);

-- Fixed widths first: they are the quickest to reach.
create table cohort_block (
    block_id         bigint primary key references header_block on delete cascade,
    series_key       bigint not null,
    study_key        bigint,                      -- null: a study that no row is known of
    patient_key      bigint,
    file_bytes       bigint not null,
    instances        integer not null,
    study_date       date,
    extracted_at     timestamptz not null,
    pixel_spacing    double precision,            -- larger of the two, mm
    slice_thickness  double precision,            -- mm
    series_date      date,
    series_number    integer,
    patient_age_years real,
    rows             integer,
    columns          integer,
    frames           integer not null,            -- of an instance
    bits_stored      integer,
    burned_in        boolean,                     -- null: not said
    mr_contrast      boolean,
    mr_fat_suppressed boolean,
    modality         text,
    station_name     text,
    device_serial_number text,
    region_key       text,
    sct_code         text,
    patient_sex      text,
    laterality       text,
    view             text,
    mr_sequence      text,
    ct_phase         text,
    study_description text,
    series_description text,
    image_type       text[],                      -- in small letters
    manufacturer     text,
    model_name       text,
    body_part_examined text,
    protocol_name    text,
    institution_name text,
    software_versions text,
    view_position    text,
    image_laterality text,
    photometric_interpretation text,
    sop_class_uid    text not null,
    transfer_syntax_uid text not null,
    -- What a preview groups by, as a number: blocks of one study with equal ones have equal modality, scanner and region.
    kind_key         bigint not null generated always as (hashtextextended(
        coalesce(modality, chr(30)) || chr(31) || coalesce(station_name, device_serial_number, chr(30)) || chr(31)
        || coalesce(region_key, chr(30)), 0)) stored,
    -- Promoted elements (0013) stand here too, each in a column `p_` and the first 61 letters of its name, where all
    -- instances of the block have the same; the names of those in which they differ, or which only some have, are here.
    promoted_differ  text[] not null default '{}'
);

-- A block's row as it has to be.
create view cohort_block_made as
    select b.block_id, b.series_key, b.study_key, st.patient_key, b.file_bytes, b.instances, st.study_date,
           b.extracted_at, greatest(b.pixel_spacing[1], b.pixel_spacing[2]) as pixel_spacing, b.slice_thickness,
           s.series_date, s.series_number, b.patient_age_years, b.rows, b.columns,
           coalesce(b.number_of_frames, 1) as frames, b.bits_stored,
           upper(b.burned_in_annotation) = 'YES' as burned_in, a.mr_contrast, a.mr_fat_suppressed, s.modality,
           s.station_name, s.device_serial_number, a.region_key, a.sct_code, st.patient_sex, a.laterality, a.view,
           a.mr_sequence, a.ct_phase, st.study_description, s.series_description,
           case when b.image_type is not null
                then array(select lower(x) from unnest(b.image_type) with ordinality u(x, nth) order by nth) end as image_type,
           s.manufacturer, s.model_name, s.body_part_examined, s.protocol_name, st.institution_name,
           s.software_versions, b.view_position, b.image_laterality, b.photometric_interpretation, b.sop_class_uid,
           b.transfer_syntax_uid
      from header_block b
      join series s on s.series_key = b.series_key
      left join study st on st.study_key = b.study_key
      left join header_anatomy a on a.series_key = b.series_key;

insert into cohort_block select * from cohort_block_made order by block_id;
create index on cohort_block (series_key);
create index on cohort_block (study_key) include (instances);
-- Texts are compared in small letters. Without figures of these the planner takes every condition for a rare one, and
-- joins what is left row by row.
create statistics cohort_block_modality on (lower(modality)) from cohort_block;
create statistics cohort_block_station_name on (lower(station_name)) from cohort_block;
create statistics cohort_block_device_serial_number on (lower(device_serial_number)) from cohort_block;
create statistics cohort_block_patient_sex on (lower(patient_sex)) from cohort_block;
create statistics cohort_block_laterality on (lower(laterality)) from cohort_block;
create statistics cohort_block_view on (lower(view)) from cohort_block;
create statistics cohort_block_mr_sequence on (lower(mr_sequence)) from cohort_block;
create statistics cohort_block_ct_phase on (lower(ct_phase)) from cohort_block;
create statistics cohort_block_study_description on (lower(study_description)) from cohort_block;
create statistics cohort_block_series_description on (lower(series_description)) from cohort_block;
create statistics cohort_block_manufacturer on (lower(manufacturer)) from cohort_block;
create statistics cohort_block_model_name on (lower(model_name)) from cohort_block;
create statistics cohort_block_body_part_examined on (lower(body_part_examined)) from cohort_block;
create statistics cohort_block_protocol_name on (lower(protocol_name)) from cohort_block;
create statistics cohort_block_institution_name on (lower(institution_name)) from cohort_block;
create statistics cohort_block_software_versions on (lower(software_versions)) from cohort_block;
create statistics cohort_block_view_position on (lower(view_position)) from cohort_block;
create statistics cohort_block_image_laterality on (lower(image_laterality)) from cohort_block;
create statistics cohort_block_photometric_interpretation on (lower(photometric_interpretation)) from cohort_block;
analyze cohort_block;

-- Who writes blocks holds the lock with others; who changes what stands above blocks waits until they are written, and
-- then sees them. Its triggers come before those of the pile (0014), for which writers wait with this lock in hand.
create function cohort_blocks_written() returns trigger language plpgsql as $$
begin
    perform pg_advisory_xact_lock_shared(7350020);
    insert into cohort_block select m.* from written w join cohort_block_made m using (block_id);
    return null;
end $$;
create trigger cohort_written after insert on header_block
    referencing new table as written for each statement execute function cohort_blocks_written();

create function cohort_study_changed() returns trigger language plpgsql as $$
begin
    perform pg_advisory_xact_lock(7350020);
    update cohort_block c
       set (patient_key, study_date, patient_sex, study_description, institution_name)
         = row(st.patient_key, st.study_date, st.patient_sex, st.study_description, st.institution_name)
      from changed n join study st on st.study_key = n.study_key
     where c.study_key = n.study_key
       and (c.patient_key, c.study_date, c.patient_sex, c.study_description, c.institution_name)
           is distinct from (st.patient_key, st.study_date, st.patient_sex, st.study_description, st.institution_name);
    return null;
end $$;
create trigger cohort_changed after update on study
    referencing new table as changed for each statement execute function cohort_study_changed();

create function cohort_series_changed() returns trigger language plpgsql as $$
begin
    perform pg_advisory_xact_lock(7350020);
    update cohort_block c
       set (series_date, series_number, modality, station_name, device_serial_number, series_description, manufacturer,
            model_name, body_part_examined, protocol_name, software_versions)
         = row(s.series_date, s.series_number, s.modality, s.station_name, s.device_serial_number, s.series_description,
               s.manufacturer, s.model_name, s.body_part_examined, s.protocol_name, s.software_versions)
      from changed s
     where c.series_key = s.series_key
       and (c.series_date, c.series_number, c.modality, c.station_name, c.device_serial_number, c.series_description,
            c.manufacturer, c.model_name, c.body_part_examined, c.protocol_name, c.software_versions)
           is distinct from
           (s.series_date, s.series_number, s.modality, s.station_name, s.device_serial_number, s.series_description,
            s.manufacturer, s.model_name, s.body_part_examined, s.protocol_name, s.software_versions);
    return null;
end $$;
create trigger cohort_changed after update on series
    referencing new table as changed for each statement execute function cohort_series_changed();

-- Anatomy comes after the blocks of its series, in the same transaction, and is derived again when people teach a word.
create function cohort_anatomy_changed() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        perform pg_advisory_xact_lock_shared(7350020);
    else
        perform pg_advisory_xact_lock(7350020);
    end if;
    update cohort_block c
       set (region_key, sct_code, laterality, view, mr_sequence, mr_contrast, mr_fat_suppressed, ct_phase)
         = row(a.region_key, a.sct_code, a.laterality, a.view, a.mr_sequence, a.mr_contrast, a.mr_fat_suppressed, a.ct_phase)
      from changed n left join header_anatomy a on a.series_key = n.series_key
     where c.series_key = n.series_key
       and (c.region_key, c.sct_code, c.laterality, c.view, c.mr_sequence, c.mr_contrast, c.mr_fat_suppressed, c.ct_phase)
           is distinct from
           (a.region_key, a.sct_code, a.laterality, a.view, a.mr_sequence, a.mr_contrast, a.mr_fat_suppressed, a.ct_phase);
    return null;
end $$;
create trigger cohort_1_insert after insert on header_anatomy
    referencing new table as changed for each statement execute function cohort_anatomy_changed();
create trigger cohort_1_update after update on header_anatomy
    referencing new table as changed for each statement execute function cohort_anatomy_changed();
create trigger cohort_1_delete after delete on header_anatomy
    referencing old table as changed for each statement execute function cohort_anatomy_changed();

-- As in 0015, and for a finding of an instance its place in a block, so that nobody looks it up again.
create or replace view quality_held as
    select f.rule, f.level, f.object, f.severity, f.block_id, f.block_position
      from quality_finding f
     where f.severity <> 'warn' and (f.level in ('study', 'series', 'instance') or f.level = 'window' and f.halts)
       and coalesce((select d.decision from quality_decision d
                      where d.rule = f.rule and d.level = f.level and d.object = f.object
                      order by d.decision_id desc limit 1), '') <> 'accept'
    union
    select d.rule, d.level, d.object, 'quarantine', null, null
      from quality_decision d
     where d.decision = 'keep-out' and d.level <> 'scanner'
       and not exists (select from quality_decision newer
                        where newer.rule = d.rule and newer.level = d.level and newer.object = d.object
                          and newer.decision_id > d.decision_id);

-- Take the promoted columns of these blocks over from their instances.
create function note_promoted(asked text[], blocks bigint[]) returns void language plpgsql as $$
declare
    name text;
begin
    foreach name in array asked loop
        execute format(
            'update cohort_block b set %1$I = case when not x.differ then x.low end, '
            '       promoted_differ = array_remove(b.promoted_differ, %2$L) || case when x.differ then array[%2$L] else ''{}'' end '
            '  from (select block_id, min(%2$I) as low, '
            '               count(%2$I) not in (0, count(*)) or min(%2$I) is distinct from max(%2$I) as differ '
            '          from instance where block_id = any ($1) group by block_id) x '
            ' where x.block_id = b.block_id and (x.low is not null or b.%1$I is not null)',
            'p_' || left(name, 61), name) using blocks;
    end loop;
end $$;
do $$
declare
    promoted record;
begin
    for promoted in
        select p.name, format_type(a.atttypid, a.atttypmod) as type from promoted_column p
          join pg_attribute a on a.attrelid = 'instance'::regclass and a.attname = p.name
    loop
        execute format('alter table cohort_block add column %I %s', 'p_' || left(promoted.name, 61), promoted.type);
        perform note_promoted(array[promoted.name], (select array_agg(block_id) from cohort_block));
    end loop;
end $$;
