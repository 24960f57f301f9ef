-- Rows of a request's list with how far each is, some at a time, without identifiers. Parameters: list_id, project,
-- window_key, profile, after (line), size.
with newest as (
    select release_id from release
     where project = %(project)s and window_key = %(window_key)s and coalesce(preset = %(profile)s, true)
     order by release_id desc limit 1
), page as (
    select list_id, line, answer, reason, note, same_as, accession, studies, instances_here, instances_listed
      from cohort_list_row
     where list_id = %(list_id)s and line > %(after)s
     order by line limit %(size)s
)
select p.line, p.answer, p.reason, p.note, p.same_as, p.studies, p.instances_here, p.instances_listed,
       c.received, c.extracted, c.checked, c.released, c.held, c.why,
       p.accession ~ '^[0-9]+$' as is_number
  from page p
  cross join lateral (
      select count(r.received_at) as received, count(i.indexed_at) as extracted, count(q.checked_at) as checked,
             count(*) filter (where o.uploaded_at is not null and m.held_reason is null and not gone.is_recalled)
                                                                                                    as released,
             count(*) filter (where m.held_reason is not null or gone.is_recalled)                  as held,
             array_agg(distinct coalesce(m.held_reason, 'opted-out'))
                 filter (where m.held_reason is not null or gone.is_recalled)                       as why
        from cohort_list_study k
        join receipt r on r.study_instance_uid = k.study_instance_uid
        left join instance i on i.sop_instance_uid = r.sop_instance_uid
        left join quality_check q on q.sop_instance_uid = r.sop_instance_uid
        left join newest on true
        left join release_member m on m.release_id = newest.release_id and m.sop_instance_uid = r.sop_instance_uid
        left join released_object o on o.release_id = m.release_id and o.sop_instance_uid = m.sop_instance_uid
                                   and o.kind = 'dicom'
        cross join lateral (select exists (select from recall_object x where x.release_id = o.release_id
                                                                         and x.object_key = o.object_key)) gone(is_recalled)
       where k.list_id = p.list_id and k.line = coalesce(p.same_as, p.line)) c
 order by p.line
