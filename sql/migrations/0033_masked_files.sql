-- Members of a release whose files say nothing of the patient's person, since too few share what they would say.
-- Decided once, when the release is prepared, before anything of it is exported: sluice.release.masks.
create table release_mask (
    release_id       bigint not null references release,
    sop_instance_uid text not null,
    primary key (release_id, sop_instance_uid)
);
