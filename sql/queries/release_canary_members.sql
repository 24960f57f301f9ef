-- Instances of a release's canaries that had arrived when it began, with what an export reads of a member.
select i.sop_instance_uid, t.path, t.sha256, null::timestamptz as uploaded_at,
       array_remove(array[s.patient_name, s.patient_id, s.accession_number, c.patient_id], null) as known,
       exists (select from canary_probe p
                where p.release_id = r.release_id and p.sop_instance_uid = i.sop_instance_uid
                  and p.outcome = 'clean' and p.removed_at is null)                                                       as is_stored
  from release r
  join canary c on c.project = r.project and c.added_at <= r.started_at
                and (c.retired_at is null or c.retired_at > r.started_at)
  join canary_instance i using (canary_id)
  join receipt t on t.sop_instance_uid = i.sop_instance_uid and t.received_at <= r.started_at
  left join study s on s.study_instance_uid = t.study_instance_uid
 where r.release_id = %(release_id)s
 order by i.sop_instance_uid
