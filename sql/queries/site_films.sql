-- Films of this site whose header and model name the same region, put together with what was learned of how far headers
-- are to be believed; at most `most` of each region, without what is opted out. Parameters: least, most.
select *
  from (select i.sop_instance_uid, f.region_key, f.probability, i.patient_age_years,
               case when st.patient_id <> '' then st.patient_key::text end as patient,
               row_number() over (partition by f.region_key order by md5(i.sop_instance_uid)) as nth
          from fused_anatomy f
          join body_part_reading r on r.sop_instance_uid = f.sop_instance_uid and r.model_id = f.model_id
          join instance i on i.sop_instance_uid = f.sop_instance_uid
          join study st on st.study_instance_uid = i.study_instance_uid
          join header_anatomy a on a.series_instance_uid = i.series_instance_uid
          join canonical_image c on c.sop_instance_uid = i.sop_instance_uid and c.shard_id is not null
         where f.probability >= %(least)s
           and a.region_key = f.region_key
           and r.examined = f.region_key
           and i.sop_instance_uid not in (select o.sop_instance_uid from opted_out_instance o where o.projects is null)
       ) ranked
 where nth <= %(most)s
 order by sop_instance_uid
