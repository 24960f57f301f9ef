-- Which key signs the house's releases, where a person said so because the one before was lost or known to others. Without a
-- row the key that signed last is the house's.
create table signing_key (
    announcement_id bigint generated always as identity primary key,
    key_id          text not null,
    why             text not null,
    announced_by    text not null,
    announced_at    timestamptz not null default clock_timestamp()
);
create trigger append_only before update or delete or truncate on signing_key
    for each statement execute function keep_as_written();

-- A synthetic patient's files leave the bucket when they were read back and found clean.
alter table canary_probe add column removed_at timestamptz;
