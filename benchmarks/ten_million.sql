-- A synthetic hospital of three years, made by the server itself: about 70 000 studies, 160 000 series, 210 000 header
-- blocks and 10 million instances, with receipts, expectations, anatomy, predictions and findings.
--
-- Shapes are those of a general hospital: half of the studies are radiographs of one or two images, two in ten are CT or
-- MR and hold nine images in ten; most patients come once, a few phantoms often; a fifth more studies are listed by the
-- PACS than are here. {studies}, {listed}, {first}, {days} and {root} are put in by benchmarks/_ten_million.py; each
-- statement ends with a line of its own.

create table bench_study as
select n, '{root}.' || n as uid, date '{first}' + (n % {days})::integer as day,
       case when u1 < 0.11 then 'CT' when u1 < 0.20 then 'MR' when u1 < 0.34 then 'US' when u1 < 0.40 then 'MG'
            when u1 < 0.43 then 'NM' when u1 < 0.60 then 'CR' else 'DX' end as modality,
       case when u2 < 0.02 then 'P' || (1 + floor(u3 * 40))
            else 'P' || (100 + floor(u3 * u3 * {studies} * 0.9)) end as patient,
       u2, u3, u4
  from (select n, random() as u1, random() as u2, random() as u3, random() as u4
          from generate_series(1, {listed}) n) r
;
create table bench_series as
select s.n, s.uid as study_uid, s.day, s.modality, k, s.uid || '.' || k as uid,
       'ST' || case s.modality when 'CT' then 1 + s.n % 4 when 'MR' then 10 + s.n % 3 when 'DX' then 20 + s.n % 6
                               when 'CR' then 30 + s.n % 3 else 40 + s.n % 5 end as station,
       greatest(1, case s.modality when 'CT' then case when k = 1 then 2 else (random() * random() * 620)::integer end
                                   when 'MR' then (20 + random() * random() * 200)::integer
                                   when 'US' then (10 + random() * 50)::integer when 'NM' then (random() * 250)::integer
                                   when 'MG' then 4 else 1 + (random() < 0.3)::integer end) as images,
       random() as u
  from bench_study s
 cross join lateral generate_series(1, case s.modality when 'CT' then 3 + (s.u4 * 6)::integer
                                                       when 'MR' then 5 + (s.u4 * 7)::integer
                                                       when 'MG' then 1 when 'US' then 1
                                                       else 1 + (s.u4 < 0.2)::integer end) k
;
-- most series are one block, some fall apart, e.g. into originals and derived images
create table bench_block as
select row_number() over (order by r.n, r.k, part)::bigint as block_id, r.*, part,
       case when parts = 1 then images when part = 1 then images / 2 else images - images / 2 end as size
  from (select s.*, case when images > 3 and u < 0.45 then 2 else 1 end as parts from bench_series s
         where s.n <= {studies}) r
 cross join lateral generate_series(1, parts) part
;
insert into sweep_window (window_key, kind, starts_on, ends_on)
select (date '{first}' + g)::text, 'day', date '{first}' + g, date '{first}' + g from generate_series(0, {days} - 1) g
;
insert into study (study_instance_uid, patient_id, patient_sex, patient_birth_date, accession_number, study_date,
                   study_time, study_description, institution_name)
select uid, patient, case when u3 < 0.5 then 'F' else 'M' end, day - (6000 + u2 * 24000)::integer, 'A' || n, day,
       time '07:00' + u4 * interval '12 hours',
       modality || case when u3 < 0.3 then ' Thorax' when u3 < 0.5 then ' Abdomen' when u3 < 0.6 then ' Knie rechts'
                        when u3 < 0.7 then ' Schädel' else ' LWS' end
                || case when u2 < 0.4 then ' nativ' else ' mit KM' end,
       'Haus A'
  from bench_study where n <= {studies}
;
insert into series (series_instance_uid, study_instance_uid, modality, series_number, series_date, series_description,
                    body_part_examined, manufacturer, model_name, station_name, device_serial_number)
select uid, study_uid, modality, k, day,
       modality || ' ' || case k when 1 then 'Scout' when 2 then 'Lunge' when 3 then 'Weichteil' else 'Recon ' || k end,
       case when u < 0.4 then 'CHEST' when u < 0.6 then 'ABDOMEN' end,
       'Maker ' || n % 3, 'Model ' || n % 9, station, 'S' || station
  from bench_series where n <= {studies}
;
insert into header_anatomy (series_instance_uid, region_key, sct_code, confidence, mr_sequence, ct_phase)
select uid, (array['CHEST', 'ABDOMEN', 'KNEE', 'SKULL', 'LSPINE'])[x.i],
       (array['51185008', '818983003', '72696002', '89546000', '122496007'])[x.i], 1,
       case when modality = 'MR' then (array['T1', 'T2', 'FLAIR', 'DWI', 'unknown'])[1 + (u * 4.99)::integer] end,
       case when modality = 'CT' then (array['plain', 'enhanced', 'unknown'])[1 + (u * 2.99)::integer] end
  from bench_series b
 cross join lateral (select case when b.u < 0.9 then 1 + (b.n % 5) end as i) x
 where n <= {studies}
;
-- 72 elements a header, some 4 KB; the headers' own bytes are left out, which nothing here reads
insert into header_block (block_id, series_instance_uid, study_instance_uid, instances, file_bytes, sop_class_uid,
                          transfer_syntax_uid, image_type, patient_age_years, rows, columns, bits_stored,
                          photometric_interpretation, pixel_spacing, slice_thickness, burned_in_annotation, elements,
                          content, extracted_at)
overriding system value
select block_id, uid, study_uid, size,
       size::bigint * case modality when 'CT' then 260000 when 'MR' then 140000 when 'US' then 900000 else 9000000 end,
       case modality when 'CT' then '1.2.840.10008.5.1.4.1.1.2' when 'MR' then '1.2.840.10008.5.1.4.1.1.4'
                     else '1.2.840.10008.5.1.4.1.1.1.1' end,
       '1.2.840.10008.1.2.4.70',
       case when part = 2 then array['DERIVED', 'PRIMARY', 'MPR'] else array['ORIGINAL', 'PRIMARY', 'AXIAL'] end,
       n % 900 / 10.0, case modality when 'CT' then 512 when 'MR' then 384 else 2048 end, 512, 12, 'MONOCHROME2',
       array[0.5 + u, 0.5 + u],
       case when modality in ('CT', 'MR') then (array[0.6, 1, 1.5, 3, 5])[1 + (u * 4.99)::integer] end,
       case when u < 0.01 then 'YES' end,
       template.j
       || jsonb_build_object('00080060', jsonb_build_object('vr', 'CS', 'Value', jsonb_build_array(modality)),
                             '00181030', jsonb_build_object('vr', 'LO', 'Value',
                                                            jsonb_build_array(modality || ' Protokoll ' || n % 50)))
       || case when modality = 'MR' and u >= 0.1
               then jsonb_build_object('00180081', jsonb_build_object('vr', 'DS', 'Value', jsonb_build_array(5 + n % 120)))
               else '{{}}' end,
       '\x00', day + interval '20 hours'
  from bench_block
 cross join (select jsonb_object_agg('0019' || lpad(to_hex(g + 4096), 4, '0'),
                                     jsonb_build_object('vr', 'LO', 'Value', jsonb_build_array(md5(g::text)))) as j
               from generate_series(1, 70) g) template
;
-- a tag that differs in every CT and MR, and one that differs in a tenth of the MR
insert into header_difference (block_id, tag, elements)
select block_id, tag,
       array_to_json(array(select json_build_object('vr', 'DS', 'Value', json_build_array(
                                      case when tag = '00180081' then 5 + g % 2 * 80 else g * 3 end))
                             from generate_series(1, size) g))::jsonb
  from bench_block
 cross join (values ('00201041'), ('00180081')) t(tag)
 where modality in ('CT', 'MR') and (tag = '00201041' or modality = 'MR' and u < 0.1)
;
insert into instance (sop_instance_uid, series_instance_uid, study_instance_uid, sop_class_uid, transfer_syntax_uid,
                      patient_id, instance_number, acquired_at, patient_age_years, rows, columns, block_id,
                      block_position, indexed_at)
select b.uid || '.' || b.part || '.' || g, b.uid, b.study_uid, '1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.1.2.4.70',
       'P' || b.n, g + 1, b.day + interval '9 hours' + g * interval '1 s', 50, 512, 512, b.block_id, g,
       b.day + interval '20 hours'
  from bench_block b cross join lateral generate_series(0, b.size - 1) g order by b.day
;
insert into receipt (sop_instance_uid, series_instance_uid, study_instance_uid, sop_class_uid, transfer_syntax_uid,
                     study_date, source, calling_ae, called_ae, peer, association, bytes, sha256, path, received_at)
select b.uid || '.' || b.part || '.' || g, b.uid, b.study_uid, '1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.1.2.4.70',
       b.day, 'move', 'PACS', 'SLUICE', '10.0.0.1', '00000000-0000-0000-0000-000000000001', 260000,
       md5(b.block_id::text) || md5(g::text), b.study_uid || '/' || b.block_id || '-' || g, b.day + interval '19 hours'
  from bench_block b cross join lateral generate_series(0, b.size - 1) g order by b.day
;
insert into expectation (window_key, sop_instance_uid, series_instance_uid, study_instance_uid, modality, pacs,
                         expected_at)
select b.day::text, b.uid || '.' || b.part || '.' || g, b.uid, b.study_uid, b.modality, 'main',
       b.day + interval '18 hours'
  from bench_block b cross join lateral generate_series(0, b.size - 1) g order by b.day
;
insert into found_study (pacs, study_instance_uid, window_key, answer)
select 'main', s.uid, s.day::text,
       jsonb_build_object('0020000D', jsonb_build_object('vr', 'UI', 'Value', jsonb_build_array(s.uid)),
                          '00100020', jsonb_build_object('vr', 'LO', 'Value', jsonb_build_array(s.patient)),
                          '00080020', jsonb_build_object('vr', 'DA', 'Value', jsonb_build_array(to_char(s.day, 'YYYYMMDD'))),
                          '00081030', jsonb_build_object('vr', 'LO', 'Value', jsonb_build_array(s.modality || ' Thorax')),
                          '00080050', jsonb_build_object('vr', 'SH', 'Value', jsonb_build_array('A' || s.n)),
                          '00080061', jsonb_build_object('vr', 'CS', 'Value', jsonb_build_array(s.modality, 'SR')),
                          '00201208', jsonb_build_object('vr', 'IS', 'Value', jsonb_build_array(r.images)))
  from bench_study s join (select n, sum(images) as images from bench_series group by n) r using (n)
;
insert into model (model_id, task, architecture, weights_sha256, card)
select t || '-bench', t, 'b', 'b', '{{}}' from unnest(array['body_part', 'ivc_filter']) t
;
-- `instance` has no index yet by which a place could be found, and here it is known
alter table prediction disable trigger note_place; alter table quality_finding disable trigger note_place
;
insert into prediction (sop_instance_uid, model_id, task, label, score, detail, predicted_at, block_id, block_position)
select b.uid || '.' || b.part || '.' || g, t || '-bench', t,
       case when t = 'body_part' then (array['adult_chest', 'abdominal', 'others'])[1 + (b.n + g) % 3]
            when (b.n + g) % 50 = 0 then 'present' else 'absent' end,
       0.5 + (b.n % 50) / 100.0,
       jsonb_build_object('examined', (array['CHEST', 'ABDOMEN', 'KNEE'])[1 + (b.n + g) % 3],
                          'visible', jsonb_build_array('CHEST')),
       b.day + interval '22 hours', b.block_id, g
  from bench_block b cross join lateral generate_series(0, b.size - 1) g
 cross join unnest(array['body_part', 'ivc_filter']) t
 where b.modality in ('CR', 'DX')
;
insert into quality_check (sop_instance_uid, window_key, suite_version, checked_at)
select b.uid || '.' || b.part || '.' || g, b.day::text, '1', b.day + interval '21 hours'
  from bench_block b cross join lateral generate_series(0, b.size - 1) g order by b.day
;
insert into quality_finding (window_key, rule, severity, level, sop_instance_uid, block_id, block_position)
select day::text, 'blank-image', 'quarantine', 'instance', uid || '.' || part || '.0', block_id, 0 from bench_block
 where block_id % 9 = 0
;
insert into quality_finding (window_key, rule, severity, level, series_instance_uid)
select day::text, 'slices-missing', 'quarantine', 'series', uid from bench_series where n <= {studies} and u > 0.99
;
insert into quality_finding (window_key, rule, severity, level, study_instance_uid)
select day::text, 'two-patients', 'stop', 'study', uid from bench_study where n <= {studies} and n % 300 = 0
;
alter table prediction enable trigger note_place; alter table quality_finding enable trigger note_place
;
select setval(pg_get_serial_sequence('header_block', 'block_id'), (select max(block_id) from header_block))
