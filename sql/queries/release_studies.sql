-- Studies with members of a release: of a window, or else of a frozen cohort's version, or of a researcher's list.
select distinct i.study_instance_uid
  from window_member m join instance i using (sop_instance_uid)
 where m.window_key = %(window_key)s and %(version_id)s::bigint is null and %(list_id)s::bigint is null
union
select study_instance_uid from cohort_member where version_id = %(version_id)s
union
select study_instance_uid from cohort_list_study where list_id = %(list_id)s
