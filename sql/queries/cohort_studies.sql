-- A page of a version's studies, after a Study Instance UID.
select page.study_instance_uid, page.instances, st.study_date, st.study_description,
       (select array_agg(distinct s.modality order by s.modality) from series s
         where s.study_instance_uid = page.study_instance_uid) as modalities
  from (select study_instance_uid, sum(instances)::integer as instances
          from cohort_member
         where version_id = %(version_id)s and study_instance_uid > %(after)s
         group by study_instance_uid
         order by study_instance_uid
         limit %(limit)s) page
  left join study st using (study_instance_uid)
 order by page.study_instance_uid
