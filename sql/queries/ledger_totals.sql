-- How much a question is about, and how much of it arrived.
-- Parameters: window_key, pacs, study, series, instance, accession, patient (each may be null).
select count(*)                                    as studies,
       count(*) filter (where missing > 0)         as incomplete_studies,
       coalesce(sum(expected), 0)::bigint          as expected,
       coalesce(sum(received), 0)::bigint          as received,
       coalesce(sum(missing), 0)::bigint           as missing,
       coalesce(sum(unexpected), 0)::bigint        as unexpected
  from (select a.study_instance_uid,
               count(a.expected_at)                                                              as expected,
               count(r.sop_instance_uid)                                                         as received,
               count(*) filter (where a.expected_at is not null and r.sop_instance_uid is null)  as missing,
               count(*) filter (where a.expected_at is null and r.sop_instance_uid is not null)  as unexpected
          from asked_instances(%(window_key)s, %(pacs)s, %(study)s, %(series)s, %(instance)s, %(accession)s,
                               %(patient)s) a
          left join receipt r on r.sop_instance_uid = a.sop_instance_uid
         group by a.study_instance_uid) of_study
