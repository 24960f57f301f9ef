-- A page of what a version wants and a PACS has, after a study of a PACS; with what came since.
select w.pacs, w.study_instance_uid, w.is_certain, w.instances,
       (select count(*)::integer from receipt r
         where r.study_instance_uid = w.study_instance_uid and r.received_at > v.frozen_at) as came_since
  from cohort_wanted w
  join cohort_version v using (version_id)
 where w.version_id = %(version_id)s and (w.pacs, w.study_instance_uid) > (%(pacs)s, %(after)s)
 order by w.pacs, w.study_instance_uid
 limit %(limit)s
