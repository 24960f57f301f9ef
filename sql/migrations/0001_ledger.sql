-- The ledger: facts with times, appended. Status is computed by the views at the end, never stored.

-- A window is what one run works on: a hospital day, or the studies of a cohort request.
create table sweep_window (
    window_key  text primary key,                 -- '2026-10-26' or 'cohort/<project>/<name>'
    kind        text not null check (kind in ('day', 'cohort')),
    starts_on   date not null,
    ends_on     date not null check (ends_on >= starts_on),   -- inclusive
    created_at  timestamptz not null default now()
);

-- Proof of coverage: every C-FIND that was asked, what it answered, and whether it had to be split.
create table sweep_leaf (
    leaf_id     bigint generated always as identity primary key,
    parent_id   bigint references sweep_leaf,
    window_key  text not null references sweep_window,
    pacs        text not null,
    level       text not null check (level in ('PATIENT', 'STUDY', 'SERIES', 'IMAGE')),
    identifier  jsonb not null,                   -- the matching keys as asked, DICOM keywords
    answers     integer not null,
    status      text not null,                    -- final C-FIND status, four hex digits
    was_split   boolean not null default false,   -- capped or truncated, so its children were asked
    asked_at    timestamptz not null default now(),
    duration_ms integer not null
);
create index on sweep_leaf (window_key);

-- What sweeps have learned about a PACS; nobody has to know it beforehand.
create table pacs_fact (
    pacs       text not null,
    fact       text not null check (fact in ('cap', 'largest', 'timeless')),
    value      integer not null,                  -- cap, largest: answers; timeless: 0 or 1
    learned_at timestamptz not null default now(),
    primary key (pacs, fact)
);

-- What the PACS said it holds, one row per study, newest answer kept.
create table found_study (
    pacs               text not null,
    study_instance_uid text not null,
    window_key         text not null references sweep_window,
    leaf_id            bigint references sweep_leaf,
    answer             jsonb not null,            -- C-FIND answer as DICOM JSON
    first_found_at     timestamptz not null default now(),
    last_found_at      timestamptz not null default now(),
    primary key (pacs, study_instance_uid, window_key)
);

-- Expected: an IMAGE-level answer of the PACS, one row per instance and window.
create table expectation (
    window_key          text not null references sweep_window,
    sop_instance_uid    text not null,
    series_instance_uid text not null,
    study_instance_uid  text not null,
    sop_class_uid       text,                     -- optional return key
    modality            text,
    pacs                text not null,
    leaf_id             bigint references sweep_leaf,
    expected_at         timestamptz not null default now(),
    primary key (window_key, sop_instance_uid)
);
create index on expectation (sop_instance_uid);
create index on expectation (study_instance_uid);

-- Received: the bytes are durable under archive/<path>. Written before 0x0000 is answered.
create table receipt (
    receipt_id          bigint generated always as identity primary key,
    sop_instance_uid    text not null unique,
    series_instance_uid text not null,
    study_instance_uid  text not null,
    sop_class_uid       text not null,
    transfer_syntax_uid text not null,
    study_date          date,                     -- as the header says; places a pushed instance into a day window
    source              text not null check (source in ('move', 'get', 'push', 'import')),
    calling_ae          text not null,
    called_ae           text not null,
    peer                text not null,            -- host address
    association         uuid not null,
    bytes               bigint not null,
    sha256              text not null,
    path                text not null,            -- relative to the archive root
    received_at         timestamptz not null default now()
);
create index on receipt (study_instance_uid);
create index on receipt (study_date);

-- The same SOP Instance UID came again with other content. The first is kept, the second set aside.
create table receipt_conflict (
    sop_instance_uid text not null,
    sha256           text not null,
    path             text not null,
    calling_ae       text not null,
    bytes            bigint not null,
    received_at      timestamptz not null default now(),
    primary key (sop_instance_uid, sha256)
);

-- A window's members: expected there, or received with a study date inside it (live pushes).
create view window_member as
    select window_key, sop_instance_uid from expectation
    union
    select w.window_key, r.sop_instance_uid
      from receipt r
      join sweep_window w on w.kind = 'day' and r.study_date between w.starts_on and w.ends_on;

-- What was tried to close a gap: one row per C-MOVE/C-GET request.
create table attempt (
    attempt_id         bigint generated always as identity primary key,
    window_key         text not null references sweep_window,
    pacs               text not null,
    study_instance_uid text not null,
    kind               text not null,             -- 'C-MOVE', 'C-GET'
    wanted             integer not null,          -- instances asked for
    completed          integer not null default 0,
    failed             integer not null default 0,
    warnings           integer not null default 0,
    arrived            integer not null default 0,-- receipts counted afterwards; the only figure that proves
    status             text,                      -- final status, four hex digits; null when none came
    reason_code        text,
    detail             text,
    started_at         timestamptz not null,
    finished_at        timestamptz not null default now()
);
create index on attempt (window_key, study_instance_uid);

-- Which instances an attempt left missing, and why as far as that attempt shows.
create table attempt_missing (
    attempt_id       bigint not null references attempt,
    sop_instance_uid text not null,
    reason_code      text not null,
    primary key (attempt_id, sop_instance_uid)
);
create index on attempt_missing (sop_instance_uid, attempt_id desc);

-- Reason codes: each gap has one of these, with what a person can do about it.
create table reason (
    reason_code text primary key,
    step        text not null,
    meaning     text not null,
    advice      text not null
);
insert into reason (reason_code, step, meaning, advice) values
    ('not-asked',            'received', 'The PACS has it; it was not asked for yet.', 'Run retrieve for this window.'),
    ('refused',              'received', 'The PACS refused the move.', 'See the status of the attempt; A7xx means out of resources: retry later. A801: the PACS does not know our AE title.'),
    ('failed-suboperation',  'received', 'The PACS counted this instance as a failed sub-operation.', 'Run retrieve again; if it persists ask the PACS administrator to look at the study.'),
    ('aborted',              'received', 'The association was aborted before the instance came.', 'Run retrieve again.'),
    ('timed-out',            'received', 'No answer within the time limit.', 'Run retrieve again outside busy hours.'),
    ('pacs-unreachable',     'received', 'The PACS did not accept an association.', 'Check host, port and AE titles with the Test button of the connection.'),
    ('reported-not-arrived', 'received', 'The PACS reported success, but the instance never arrived.', 'Ask the PACS administrator whether the object is really stored.'),
    ('unreadable',           'indexed',  'The file cannot be parsed as DICOM.', 'See the quarantine; ask the sender to send it again.'),
    ('truncated',            'indexed',  'The file ends before its last element does.', 'See the quarantine; ask the sender to send it again.'),
    ('unusable-uids',        'received', 'An object came whose UIDs are missing, invalid or contradict the request.', 'See the quarantine; repair at the sender.'),
    ('not-dicom',            'received', 'The file is not DICOM.', 'Remove it from the import folder.'),
    ('not-indexed-yet',      'indexed',  'Received, header not extracted yet.', 'Run extract_headers for this window.'),
    ('not-checked-yet',      'checked',  'Indexed, quality not checked yet.', 'Run check_quality for this window.'),
    ('quality-stop',         'released', 'A quality rule of severity stop failed.', 'See quality findings; repair at the source.'),
    ('not-a-radiograph',     'predicted','The models read radiographs (CR, DX) only.', 'Nothing to do.'),
    ('not-predicted-yet',    'predicted','Indexed, no prediction yet.', 'Run infer_body_part for this window.'),
    ('pixels-unreadable',    'predicted','The pixel data cannot be decoded.', 'Open the file in a viewer; ask the sender to send it again.'),
    ('pixels-unsuitable',    'predicted','Colour, screen capture or empty image: no radiograph.', 'Nothing to do.'),
    ('not-in-project',       'released', 'The project''s selection does not ask for it.', 'Nothing to do.'),
    ('held-class',           'released', 'The SOP class or image type may carry identifiers in pixels or text.', 'Held by the profile.'),
    ('held-identity',        'released', 'The patient cannot be identified for certain, so no pseudonym can be given.', 'Repair the Patient ID at the source.'),
    ('held-residual',        'released', 'The independent re-read found an identifier in the de-identified file.', 'Held; report it to the data protection officer.'),
    ('held-unreadable',      'released', 'The file could not be de-identified.', 'See the detail of the gap.'),
    ('not-released-yet',     'released', 'Eligible, not exported yet.', 'Run export_release for this window.');

-- A reason noted for one instance at one step. Newest wins; a later success makes it history.
create table gap (
    gap_id           bigint generated always as identity primary key,
    sop_instance_uid text not null,
    step             text not null check (step in ('received', 'indexed', 'checked', 'predicted', 'released')),
    reason_code      text not null references reason,
    detail           text,                        -- never an identifier, never an element's value
    noted_at         timestamptz not null default now()
);
create index on gap (sop_instance_uid, step, gap_id desc);

-- Files that are not in the archive proper, with the reason.
create table quarantine (
    quarantine_id    bigint generated always as identity primary key,
    path             text not null,               -- relative to the archive root, or as imported
    sha256           text,
    bytes            bigint,
    sop_instance_uid text,
    reason_code      text not null references reason,
    detail           text,
    quarantined_at   timestamptz not null default now()
);
create unique index on quarantine (path, coalesce(sha256, ''), reason_code);
