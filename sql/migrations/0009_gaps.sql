-- What is missing and why, at the level of windows, studies, series and instances; and imports.
-- The views of 0004 are defined anew here with the same columns: they looked at every row there is to answer for one
-- window. Status is still computed, never stored.

-- Folders and ZIPs that were brought in. The window of an import holds what it brought or found here already.
alter table sweep_window drop constraint if exists sweep_window_kind_check;
alter table sweep_window add constraint sweep_window_kind_check check (kind ~ '^[a-z]+$');

create table import_run (
    import_id   uuid primary key,                 -- also `receipt.association` of what it brought
    window_key  text not null references sweep_window,
    root        text not null,                    -- as it was named; may identify a patient, so never logged
    host        text not null,
    started_at  timestamptz not null default now(),
    finished_at timestamptz,                      -- null: it is under way, or was killed; the same import again goes on
    counts      jsonb not null default '{}'       -- outcome to number of files
);
create index on import_run (window_key);

create table imported (
    window_key       text not null references sweep_window,
    sop_instance_uid text not null,
    import_id        uuid not null references import_run,   -- the run that put it into the window first
    imported_at      timestamptz not null default now(),
    primary key (window_key, sop_instance_uid)
);
create index on imported (sop_instance_uid);

-- One question by any identifier, without reading everything.
create index on expectation (series_instance_uid);
create index on receipt (series_instance_uid);
create index on receipt_conflict (received_at);
create index on attempt (study_instance_uid);
create index on quarantine (sop_instance_uid);
create index on quality_check (window_key, checked_at desc);
create index on released_object (sop_instance_uid);
create index on found_study (study_instance_uid);
create index on found_study ((answer #>> '{00100020,Value,0}'));   -- Patient ID
create index on found_study ((answer #>> '{00080050,Value,0}'));   -- Accession Number

insert into reason (reason_code, step, meaning, advice) values
    ('encrypted',   'received', 'The file is in an encrypted ZIP.', 'Unpack it with its password and import the folder.'),
    ('zip-bomb',    'received', 'The ZIP unpacks to far more than it holds, so it was not unpacked.', 'Look at it by hand; unpack it into a folder and import that if it is sound.'),
    ('damaged-zip', 'received', 'The ZIP cannot be read.', 'Get it again from where it came from.'),
    ('unreadable-file', 'received', 'The file could not be opened.', 'Check its permissions and the disk, then import again.');

drop view open_gap;
drop view window_funnel;
drop view instance_ledger;
drop view window_member;

-- A window's members with what the PACS said of each: expected there, received with its study date (live pushes,
-- imports of that day), or brought by that import.
create view window_instance as
    select window_key, sop_instance_uid, study_instance_uid, series_instance_uid, modality, pacs, leaf_id, expected_at
      from expectation
    union all
    select w.window_key, r.sop_instance_uid, r.study_instance_uid, r.series_instance_uid, null, null, null, null
      from sweep_window w
      join receipt r on r.study_date = w.starts_on   -- an equality lets the planner know how few they are
     where w.kind = 'day'
       and not exists (select from expectation e
                        where e.window_key = w.window_key and e.sop_instance_uid = r.sop_instance_uid)
    union all
    select m.window_key, r.sop_instance_uid, r.study_instance_uid, r.series_instance_uid, null, null, null, null
      from imported m
      join receipt r on r.sop_instance_uid = m.sop_instance_uid;

create view window_member as
    select window_key, sop_instance_uid from window_instance;

-- The ledger of one window: when each step happened to each member, null where it did not.
-- Receipts and instances are fetched study by study, which is twenty times quicker than one UID at a time; the
-- laterals behind them catch what came under another study than the PACS had named.
create function ledger_of_window(asked text)
returns table (
    sop_instance_uid text, study_instance_uid text, series_instance_uid text, modality text,
    expected_at timestamptz, received_at timestamptz, indexed_at timestamptz, checked_at timestamptz,
    predicted_at timestamptz, released_at timestamptz, receipt_id bigint, bytes bigint, source text
)
language sql stable rows 5000
set work_mem = '64MB' set enable_mergejoin = off set enable_memoize = off
as $$
    with day as materialized (
        select starts_on from sweep_window where window_key = asked and kind = 'day'
    ), brought as materialized (
        select m.sop_instance_uid, r.study_instance_uid
          from imported m join receipt r using (sop_instance_uid) where m.window_key = asked
    ), studies as materialized (
        select e.study_instance_uid from expectation e where e.window_key = asked
        union
        select r.study_instance_uid from day join receipt r on r.study_date = day.starts_on
        union
        select study_instance_uid from brought
    ), came as materialized (
        select r.*
          from studies
          cross join lateral (select sop_instance_uid, study_instance_uid, series_instance_uid, study_date,
                                     received_at, receipt_id, bytes, source
                                from receipt where study_instance_uid = studies.study_instance_uid offset 0) r
    ), released as (
        select o.sop_instance_uid, min(release.published_at) as released_at
          from came join released_object o using (sop_instance_uid) join release using (release_id)
         where release.published_at is not null
         group by o.sop_instance_uid
    )
    select coalesce(e.sop_instance_uid, r.sop_instance_uid),
           coalesce(e.study_instance_uid, r.study_instance_uid),
           coalesce(e.series_instance_uid, r.series_instance_uid),
           coalesce(s.modality, e.modality),
           e.expected_at,
           coalesce(r.received_at, elsewhere.received_at),
           coalesce(i.indexed_at, odd.indexed_at),
           coalesce(q.checked_at, before.checked_at),
           p.predicted_at,
           o.released_at,
           coalesce(r.receipt_id, elsewhere.receipt_id),
           coalesce(r.bytes, elsewhere.bytes),
           coalesce(r.source, elsewhere.source)
      from (select sop_instance_uid, study_instance_uid, series_instance_uid, modality, expected_at
              from expectation where window_key = asked) e
      full join came r on r.sop_instance_uid = e.sop_instance_uid
      left join lateral (select received_at, receipt_id, bytes, source, sop_instance_uid
                           from receipt
                          where r.sop_instance_uid is null and sop_instance_uid = e.sop_instance_uid
                          limit 1) elsewhere on true
      left join (select found.*
                   from studies
                   cross join lateral (select sop_instance_uid, indexed_at, series_instance_uid
                                         from instance
                                        where study_instance_uid = studies.study_instance_uid offset 0) found
                ) i on i.sop_instance_uid = r.sop_instance_uid
      left join lateral (select indexed_at, series_instance_uid, sop_instance_uid
                           from instance
                          where i.sop_instance_uid is null
                            and sop_instance_uid = coalesce(r.sop_instance_uid, elsewhere.sop_instance_uid)
                          limit 1) odd on true
      left join series s on s.series_instance_uid = coalesce(i.series_instance_uid, odd.series_instance_uid)
      left join (select sop_instance_uid, checked_at
                   from quality_check where window_key = asked) q on q.sop_instance_uid = r.sop_instance_uid
      left join lateral (select checked_at
                           from quality_check
                          where q.sop_instance_uid is null
                            and sop_instance_uid = coalesce(i.sop_instance_uid, odd.sop_instance_uid)
                          limit 1) before on true
      left join lateral (select min(predicted_at) as predicted_at
                           from prediction
                          where coalesce(s.modality, e.modality, '') in ('CR', 'DX', '')   -- nothing else is read
                            and sop_instance_uid = coalesce(r.sop_instance_uid, elsewhere.sop_instance_uid)) p on true
      left join released o on o.sop_instance_uid = r.sop_instance_uid
     where e.sop_instance_uid is not null
        or r.study_date = (select starts_on from day)
        or r.sop_instance_uid in (select sop_instance_uid from brought)
$$;

create view instance_ledger as
    select w.window_key, l.sop_instance_uid, l.study_instance_uid, l.series_instance_uid, l.modality, l.expected_at,
           l.received_at, l.indexed_at, l.checked_at, l.predicted_at, l.released_at, l.receipt_id, l.bytes, l.source
      from sweep_window w
      cross join lateral ledger_of_window(w.window_key) l;

-- Every expected instance that has not come, with the reason that the facts give: the PACS no longer lists it; an
-- object came under its UID and went to quarantine, which explains what the PACS counted as sent or failed; else the
-- newer of what the last attempt showed and what was noted since; else nobody has asked yet.
create view missing_instance as
    select e.window_key, e.pacs, e.study_instance_uid, e.series_instance_uid, e.sop_instance_uid, e.modality,
           e.expected_at, e.leaf_id,
           case when not listed.is_held then listed.reason_code
                when refused.explains then refused.reason_code
                when noted.noted_at > coalesce(tried.finished_at, '-infinity') then noted.reason_code
                else coalesce(tried.reason_code, 'not-asked') end as reason_code,
           case when not listed.is_held then null
                when refused.explains then refused.detail
                when noted.noted_at > coalesce(tried.finished_at, '-infinity') then noted.detail
                else tried.detail end as detail,
           tried.status,
           coalesce(tries.attempts, 0) as attempts,
           tried.started_at            as last_attempt_at,
           tried.pacs                  as last_pacs,
           tried.kind                  as last_kind,
           plan.due_at                 as next_attempt_at,
           plan.pacs                   as next_pacs,
           refused.quarantined_at,
           noted.noted_at
      from expectation e
      left join lateral (select p.is_held, p.reason_code
                           from instance_presence p
                          where p.window_key = e.window_key and p.sop_instance_uid = e.sop_instance_uid
                          order by p.presence_id desc limit 1) listed on true
      left join lateral (select am.reason_code, coalesce(am.status, a.status) as status,
                                a.detail, a.started_at, a.finished_at, a.pacs, a.kind
                           from attempt_missing am join attempt a using (attempt_id)
                          where am.sop_instance_uid = e.sop_instance_uid
                          order by am.attempt_id desc limit 1) tried on true
      left join lateral (select count(*)::integer as attempts
                           from attempt_missing am
                          where tried.started_at is not null and am.sop_instance_uid = e.sop_instance_uid) tries on true
      left join lateral (select g.reason_code, g.detail, g.noted_at
                           from gap g
                          where g.sop_instance_uid = e.sop_instance_uid and g.step = 'received'
                          order by g.gap_id desc limit 1) noted on true
      left join lateral (select q.reason_code, q.detail, q.quarantined_at,
                                coalesce(tried.reason_code, noted.reason_code, 'not-asked')
                                in ('not-asked', 'failed-suboperation', 'reported-not-arrived', 'not-delivered', 'not-stored')
                                or q.quarantined_at > greatest(tried.finished_at, noted.noted_at) as explains
                           from quarantine q
                          where q.sop_instance_uid = e.sop_instance_uid
                          order by q.quarantine_id desc limit 1) refused on true
      left join planned_attempt plan
             on plan.window_key = e.window_key and plan.study_instance_uid = e.study_instance_uid
     where not exists (select from receipt r where r.sop_instance_uid = e.sop_instance_uid);

create view open_gap as
    select window_key, sop_instance_uid, study_instance_uid, series_instance_uid, modality, 'received' as step,
           reason_code, detail, coalesce(noted_at, last_attempt_at) as noted_at
      from missing_instance
    union all
    select l.window_key, l.sop_instance_uid, l.study_instance_uid, l.series_instance_uid, l.modality, missing.step,
           coalesce(noted.reason_code,
                    case missing.step
                         when 'indexed'   then 'not-indexed-yet'
                         when 'checked'   then 'not-checked-yet'
                         when 'predicted' then case when l.modality in ('CR', 'DX') then 'not-predicted-yet'
                                                    else 'not-a-radiograph' end
                         else 'not-released-yet' end),
           noted.detail,
           noted.noted_at
      from instance_ledger l
      cross join lateral (values ('indexed',   l.received_at is not null and l.indexed_at is null),
                                 ('checked',   l.indexed_at is not null and l.checked_at is null),
                                 ('predicted', l.indexed_at is not null and l.predicted_at is null),
                                 ('released',  l.indexed_at is not null and l.released_at is null)
                         ) as missing(step, is_open)
      left join lateral (select g.reason_code, g.detail, g.noted_at
                           from gap g
                          where g.sop_instance_uid = l.sop_instance_uid and g.step = missing.step
                            and (missing.step <> 'predicted' or coalesce(l.modality, '') in ('CR', 'DX', ''))
                          order by g.gap_id desc limit 1) noted on true
     where missing.is_open;

-- Counts a series first: distinct values of a few thousand rows are cheap, those of a hundred thousand are not.
create view window_funnel as
    select window_key,
           count(distinct study_instance_uid)  as studies,
           count(distinct series_instance_uid) as series,
           sum(members)::bigint                as members,
           sum(expected)::bigint               as expected,
           sum(received)::bigint               as received,
           sum(expected_and_received)::bigint  as expected_and_received,
           sum(indexed)::bigint                as indexed,
           sum(checked)::bigint                as checked,
           sum(predicted)::bigint              as predicted,
           sum(released)::bigint               as released,
           count(distinct study_instance_uid)
             - count(distinct study_instance_uid) filter (where received < members) as complete_studies,
           coalesce(sum(bytes), 0)::bigint     as bytes,
           sum(pushed)::bigint                 as pushed
      from (select window_key, study_instance_uid, series_instance_uid,
                   count(*)            as members,
                   count(expected_at)  as expected,
                   count(received_at)  as received,
                   count(*) filter (where expected_at is not null and received_at is not null) as expected_and_received,
                   count(indexed_at)   as indexed,
                   count(checked_at)   as checked,
                   count(predicted_at) as predicted,
                   count(released_at)  as released,
                   sum(bytes)          as bytes,
                   count(*) filter (where source = 'push') as pushed
              from instance_ledger
             group by window_key, study_instance_uid, series_instance_uid) of_series
     group by window_key;

-- Which instances a question is about, by any of its identifiers, each null where it is not asked by; every instance
-- once, with all windows that expect it. Without an identifier of a study: the window's members.
create function asked_instances(asked_window text, asked_pacs text, asked_study text, asked_series text,
                                asked_instance text, asked_accession text, asked_patient text)
returns table (sop_instance_uid text, study_instance_uid text, series_instance_uid text, modality text,
               windows text[], pacs text[], expected_at timestamptz)
language plpgsql stable rows 1000
as $$
declare
    studies text[];
begin
    if coalesce(asked_study, asked_series, asked_instance, asked_accession, asked_patient) is null then
        return query
            select m.sop_instance_uid, m.study_instance_uid, m.series_instance_uid, m.modality, array[m.window_key],
                   array[m.pacs], m.expected_at
              from window_instance m
             where m.window_key = asked_window and (asked_pacs is null or m.pacs = asked_pacs);
        return;
    end if;
    studies := array(
        select asked_study where asked_study is not null
        union select e.study_instance_uid from expectation e where e.series_instance_uid = asked_series
        union select r.study_instance_uid from receipt r where r.series_instance_uid = asked_series
        union select e.study_instance_uid from expectation e where e.sop_instance_uid = asked_instance
        union select r.study_instance_uid from receipt r where r.sop_instance_uid = asked_instance
        union select s.study_instance_uid from study s where s.accession_number = asked_accession
        union select s.study_instance_uid from study s where s.patient_id = asked_patient
        union select f.study_instance_uid from found_study f where f.answer #>> '{00080050,Value,0}' = asked_accession
        union select f.study_instance_uid from found_study f where f.answer #>> '{00100020,Value,0}' = asked_patient);
    return query
        select u.sop_instance_uid,
               (array_agg(u.study_instance_uid order by u.expected_at))[1],
               (array_agg(u.series_instance_uid order by u.expected_at))[1],
               min(u.modality),
               array_agg(distinct u.window_key) filter (where u.window_key is not null),
               array_agg(distinct u.pacs) filter (where u.pacs is not null),
               min(u.expected_at)
          from (select e.sop_instance_uid, e.study_instance_uid, e.series_instance_uid, e.modality, e.window_key,
                       e.pacs, e.expected_at
                  from expectation e where e.study_instance_uid = any (studies)
                union all
                select r.sop_instance_uid, r.study_instance_uid, r.series_instance_uid, null, null, null, null
                  from receipt r where r.study_instance_uid = any (studies)
                union all   -- it came, but not into the archive
                select q.sop_instance_uid, null, null, null, null, null, null
                  from quarantine q where q.sop_instance_uid = asked_instance) u
         where (asked_series is null or u.series_instance_uid = asked_series)
           and (asked_instance is null or u.sop_instance_uid = asked_instance)
         group by u.sop_instance_uid
        having (asked_window is null or asked_window = any (array_agg(u.window_key)))
           and (asked_pacs is null or asked_pacs = any (array_agg(u.pacs)));
end
$$;
