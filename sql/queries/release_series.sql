-- DICOM objects of the series whose first member is in a part of a release, held ones left out.
-- Parameters: release_id; first, last: receipt ids, inclusive.
with member as (
    select r.series_instance_uid, r.receipt_id, o.sop_instance_uid, o.object_key, o.sha256, o.columns, o.uploaded_at
      from release_member m
      join receipt r using (sop_instance_uid)
      left join released_object o on o.release_id = m.release_id and o.sop_instance_uid = m.sop_instance_uid
                                 and o.kind = 'dicom'
     where m.release_id = %(release_id)s and m.held_reason is null
), begun as (
    select series_instance_uid
      from member
     group by series_instance_uid
    having min(receipt_id) between %(first)s and %(last)s
)
select * from begun join member using (series_instance_uid) order by series_instance_uid, receipt_id
