-- Detail images: 1,024 x 1,024 bytes of films that may show what is too fine for a canonical image, in shards of their
-- own. What of the film they show is what its canonical image shows.
alter table canonical_shard add column side smallint not null default 512 check (side in (512, 1024));

create table detail_image (
    sop_instance_uid text primary key,
    recipe           smallint not null,              -- models.preprocess.RECIPE
    shard_id         bigint references canonical_shard,  -- null: the film shows no more than its canonical image does
    offset_bytes     bigint,
    digest           bytea,                          -- SHA-256 of its bytes
    decoded_at       timestamptz not null default now(),
    constraint detail_image_whole check (num_nonnulls(shard_id, offset_bytes, digest) in (0, 3))
);
create unique index detail_image_place on detail_image (shard_id, offset_bytes);
create index detail_image_decoded on detail_image (decoded_at);
