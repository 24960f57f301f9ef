-- Films that are one by their pictures: of two patients first, then the most alike. Never of whom nobody may use.
-- Parameter: most.
select d.first_uid, d.second_uid, d.similarity, d.correlation, d.found_at,
       a.study_instance_uid as first_study, b.study_instance_uid as second_study,
       case when (sa.patient_id, sa.patient_id_issuer) is distinct from (sb.patient_id, sb.patient_id_issuer)
                 then 'two patients'
            when a.study_instance_uid <> b.study_instance_uid then 'two studies' else 'one study' end as belongs
  from near_duplicate d
  join instance a on a.sop_instance_uid = d.first_uid
  join instance b on b.sop_instance_uid = d.second_uid
  join study sa on sa.study_instance_uid = a.study_instance_uid
  join study sb on sb.study_instance_uid = b.study_instance_uid
 where d.first_uid not in (select o.sop_instance_uid from opted_out_instance o where o.projects is null)
   and d.second_uid not in (select o.sop_instance_uid from opted_out_instance o where o.projects is null)
 order by case when (sa.patient_id, sa.patient_id_issuer) is distinct from (sb.patient_id, sb.patient_id_issuer) then 0
               when a.study_instance_uid <> b.study_instance_uid then 1 else 2 end,
          d.correlation desc, d.first_uid, d.second_uid
 limit %(most)s
