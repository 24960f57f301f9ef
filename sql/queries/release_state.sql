-- A release and what is still open on it. Parameter: release_id.
select r.*,
       (select max(uploaded_at) from released_object o where o.release_id = r.release_id) as last_upload,
       (select count(*) from release_member m
          left join released_object o on o.release_id = m.release_id and o.sop_instance_uid = m.sop_instance_uid
                                     and o.kind = 'dicom'
         where m.release_id = r.release_id and m.held_reason is null and o.uploaded_at is null) as open,
       (select count(*) from release_member m
         where m.release_id = r.release_id and m.held_reason is not null)                        as held,
       (select count(*) from released_object o
         where o.release_id = r.release_id and o.kind <> 'dicom' and o.uploaded_at is null)      as unsent,
       case when 'png' = any(r.formats) then
           (select count(*) from released_object o
             where o.release_id = r.release_id and o.kind = 'dicom'
               and not exists (select from release_derivation d
                                where d.release_id = o.release_id and d.kind = 'png' and d.source = o.sop_instance_uid))
       else 0 end
     + case when 'nifti' = any(r.formats) then
           (select count(distinct c.series_instance_uid)
              from released_object o join receipt c using (sop_instance_uid)
             where o.release_id = r.release_id and o.kind = 'dicom'
               and not exists (select from release_derivation d
                                where d.release_id = o.release_id and d.kind = 'nifti'
                                  and d.source = c.series_instance_uid))
       else 0 end                                                                                as underived,
       (select jsonb_build_object('name', c.name, 'version', v.version, 'filter_digest', v.digest,
                                  'member_digest', v.member_digest, 'frozen_by', v.frozen_by,
                                  'expression', v.expression)
          from cohort_version v join cohort c using (cohort_id)
         where v.version_id = r.cohort_version_id)                                               as cohort,
       (select jsonb_build_object('release_id', p.release_id, 'version', p.version, 'manifest_sha256', p.manifest_sha256)
          from release p
         where (p.project, p.line) = (r.project, r.line) and p.version < r.version and p.published_at is not null
         order by p.version desc limit 1)                                                        as previous
  from release r
 where r.release_id = %(release_id)s
