-- What people see on films: each reader's answers, and who decided where readers differ. Appended; the newest of a reader
-- counts. What they agree on is the truth that the next model is trained on.

-- An answer: a router class and regions for body_part, present or absent for ivc_filter; unclear: nobody could tell.
create table annotation (
    annotation_id    bigint generated always as identity primary key,
    sop_instance_uid text not null,
    task             text not null,
    label            text not null,
    examined         text,                        -- region; null: none of the 36, or not one alone
    visible          text[] not null default '{}', -- regions, sorted
    reader           text not null check (reader <> ''),
    decided_at       timestamptz not null default now(),
    seconds          real check (seconds >= 0),   -- from picture to answer; null: not measured
    comment          text not null default '',    -- for colleagues; no patient's name
    accepted         boolean not null default false, -- the model's answer as it was, by one key
    shown_model_id   text references model,       -- whose answer the reader had before them; null: none
    shown            jsonb,                       -- that answer: label, examined, visible, score
    check (task = 'body_part' and label in ('abdominal', 'adult_chest', 'pediatric_chest', 'spine', 'others', 'unclear')
        or task = 'ivc_filter' and label in ('present', 'absent', 'unclear') and examined is null and visible = '{}'),
    check (label <> 'unclear' or (examined is null and visible = '{}')),
    check ((shown_model_id is null) = (shown is null)),
    check (not accepted or shown_model_id is not null)
);
create index on annotation (task, sop_instance_uid, reader, annotation_id desc);
create index on annotation (sop_instance_uid);

-- A third person's word on a film that readers see differently.
create table adjudication (
    adjudication_id  bigint generated always as identity primary key,
    sop_instance_uid text not null,
    task             text not null,
    label            text not null,
    examined         text,
    visible          text[] not null default '{}',
    adjudicator      text not null check (adjudicator <> ''),
    decided_at       timestamptz not null default now(),
    comment          text not null default '',
    check (task = 'body_part' and label in ('abdominal', 'adult_chest', 'pediatric_chest', 'spine', 'others', 'unclear')
        or task = 'ivc_filter' and label in ('present', 'absent', 'unclear') and examined is null and visible = '{}'),
    check (label <> 'unclear' or (examined is null and visible = '{}'))
);
create index on adjudication (task, sop_instance_uid, adjudication_id desc);

do $$
declare written text;
begin
    foreach written in array array['annotation', 'adjudication'] loop
        execute format('create trigger append_only before update or delete or truncate on %I '
                       'for each statement execute function keep_as_written()', written);
    end loop;
end $$;

-- What each reader said last.
create view annotation_now as
    select distinct on (task, sop_instance_uid, reader) *
      from annotation
     order by task, sop_instance_uid, reader, annotation_id desc;

-- Where a film stands. Readers agree when label and examined region are the same; a visible region is one that more than
-- half of them name, or that is examined. An adjudication stands above what readers say, also what they say later.
create view annotation_verdict as
    with said as (
        select task, sop_instance_uid, count(*) as readers, array_agg(reader order by reader) as reader_names,
               count(distinct (label, coalesce(examined, ''))) = 1 as agree,
               min(label) as label, min(examined) as examined, max(decided_at) as decided_at
          from annotation_now
         group by task, sop_instance_uid
    ),
    decided as (
        select distinct on (task, sop_instance_uid) *
          from adjudication
         order by task, sop_instance_uid, adjudication_id desc
    )
    select s.task, s.sop_instance_uid, s.readers, s.reader_names,
           case when d.adjudication_id is not null then 'adjudicated' when not s.agree then 'differing'
                when s.readers > 1 then 'agreed' else 'single' end as standing,
           case when d.adjudication_id is not null then d.label when s.agree then s.label end as label,
           case when d.adjudication_id is not null then d.examined when s.agree then s.examined end as examined,
           case when d.adjudication_id is not null then d.visible when s.agree then v.visible end as visible,
           d.adjudicator, coalesce(d.decided_at, s.decided_at) as decided_at
      from said s
      left join decided d using (task, sop_instance_uid)
      cross join lateral (select array(select region
                                         from (select unnest(n.visible) as region
                                                 from annotation_now n
                                                where n.task = s.task and n.sop_instance_uid = s.sop_instance_uid) named
                                        group by region
                                       having 2 * count(*) > s.readers or region = s.examined
                                        order by region) as visible) v;
