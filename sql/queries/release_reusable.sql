-- Members whose object an earlier published version of the project already holds: made of the same file by the same profile,
-- key and engine. Parameters: release_id, members (SOP Instance UIDs).
select distinct on (m.sop_instance_uid) m.sop_instance_uid, o.object_key, o.bytes, o.sha256, o.columns, o.source_sha256
  from release t
  join release_member m using (release_id)
  join receipt c using (sop_instance_uid)
  join released_object o on o.sop_instance_uid = m.sop_instance_uid and o.kind = 'dicom'
                        and o.source_sha256 = c.sha256 and o.uploaded_at is not null
  join release r on r.release_id = o.release_id
                and (r.project, r.bucket, r.profile) = (t.project, t.bucket, t.profile)
 where t.release_id = %(release_id)s and m.sop_instance_uid = any(%(members)s)
   and r.published_at is not null and r.release_id <> t.release_id
   -- What is recalled is about to be deleted, even where its opt-out was withdrawn since.
   and not exists (select from recall_object gone join release g using (release_id)
                    where gone.object_key = o.object_key and g.bucket = r.bucket)
   -- A person's decision about a string concerns it: it is to be made anew.
   and not exists (select from review_redo d where d.release_id = t.release_id and d.sop_instance_uid = m.sop_instance_uid)
 order by m.sop_instance_uid, r.version
