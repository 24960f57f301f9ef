-- What was found in pixels before a release: text that is burned into them, and which frames were looked at for it.

create table pixel_screening (
    sop_instance_uid text not null,
    screener         text not null,                -- what looked: `sluice.deid.pixels.reader.screener`
    frames           integer[] not null,           -- frames that were looked at by themselves, from 0
    image_rows       integer not null,             -- 0 where the pixels could not be read
    image_columns    integer not null,
    failed           text,                         -- why they could not be looked at; never a value of the header
    found            integer not null,             -- texts that are no markers of side, view or position
    markers          integer not null,
    screened_at      timestamptz not null default now(),
    primary key (sop_instance_uid, screener)
);

-- Each text that was found. What it says is for the eyes of those who approve a release, and is forgotten when the release
-- is published; where it stands is kept, because masks are made of it.
create table pixel_text (
    sop_instance_uid text not null,
    screener         text not null,
    number           integer not null,             -- in the order it was found, from 0
    frame            integer not null,             -- from 0; -1, -2: in the brightest, the darkest of all frames
    box_left         integer not null,             -- pixels
    box_top          integer not null,
    box_width        integer not null check (box_width > 0),
    box_height       integer not null check (box_height > 0),
    score            real not null,                -- 0..1
    is_marker        boolean not null,
    said             text,                         -- null: forgotten
    primary key (sop_instance_uid, screener, number),
    foreign key (sop_instance_uid, screener) references pixel_screening on delete cascade
);

create index on pixel_text (sop_instance_uid) where said is not null;

-- Whoever publishes a release: nobody decides about its members any more, so what their texts say goes. It stays of
-- members that are held, which somebody still has to look at, and while another release of these 90 days waits with them.
create function forget_pixel_text() returns trigger language plpgsql as $$
begin
    update pixel_text t set said = null
      from release_member m
     where m.release_id = new.release_id and m.held_reason is null
       and t.sop_instance_uid = m.sop_instance_uid and t.said is not null
       and not exists (select
                         from release_member other
                         join release r on r.release_id = other.release_id
                        where other.sop_instance_uid = m.sop_instance_uid and r.release_id <> new.release_id
                          and r.published_at is null and r.started_at > now() - interval '90 days');
    return null;
end $$;
create trigger forget_pixel_text after update of published_at on release
    for each row when (old.published_at is null and new.published_at is not null) execute function forget_pixel_text();

insert into reason (reason_code, step, meaning, advice) values
    ('held-device', 'released', 'The picture is of a kind that shows text by habit, and no rule for its device lets it leave.', 'Look at pictures of this device and write a rule for it: docs/pixels.md.'),
    ('held-text',   'released', 'Text stands in the pixels, or they were not looked at yet.', 'Look at it on the review page; the project may have text masked instead (pixels: text: mask).'),
    ('held-face',   'released', 'A volume of a head, or of no named region, from which a face can be made.', 'If the recipient may have heads, the project says so (pixels: heads: release); if it shows none, teach the body part.');
