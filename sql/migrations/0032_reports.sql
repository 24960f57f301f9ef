-- Reports in the tables of a release: what the content tree of a de-identified file says, by section.

-- Read from the file as it stands in the bucket, once; a version that names the file again names this as well. What is
-- not here, or of other bytes or by another reader, is read before the tables are written.
create table report_reading (
    object_key text primary key,
    sha256     text not null,        -- of the file that was read
    reader     int not null,         -- which reader: sluice.release.reports.READER
    sections   jsonb not null        -- a list of objects, columns of the table `reports`
);

-- What leaves the bucket, or is to be made anew by a person's decision, says nothing here either.
create function forget_report() returns trigger language plpgsql as $$
begin
    delete from report_reading where object_key = old.object_key;
    return null;
end $$;
create trigger forget_report_of_deleted after delete on released_object
    for each row when (old.kind = 'dicom') execute function forget_report();
create trigger forget_report_of_withdrawn after update of uploaded_at on released_object
    for each row when (old.kind = 'dicom' and old.uploaded_at is not null and new.uploaded_at is null)
    execute function forget_report();
