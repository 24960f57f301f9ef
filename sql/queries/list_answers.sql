-- The answer of each row of a list, from the studies it stands for: how much of them is here, and how much is listed.
with standing as materialized (
    select distinct study_instance_uid from cohort_list_study where list_id = %(list_id)s
), held as (
    select s.study_instance_uid, h.here,
           greatest(h.here, case when l.listed > 0 then l.listed else c.claimed end, 0) as listed
      from standing s
      cross join lateral (select count(*)::integer as here
                            from receipt r where r.study_instance_uid = s.study_instance_uid) h
      cross join lateral (select count(distinct e.sop_instance_uid)::integer as listed
                            from expectation e where e.study_instance_uid = s.study_instance_uid) l
      left join lateral (select substring(f.answer #>> '{00201208,Value,0}' from '^[0-9]{1,9}$')::integer as claimed
                           from found_study f
                          where l.listed = 0 and f.study_instance_uid = s.study_instance_uid
                          order by f.last_found_at desc limit 1) c on true
), figures as (
    select m.line, count(*)::integer as studies, sum(h.here)::integer as here, sum(h.listed)::integer as listed
      from cohort_list_study m join held h using (study_instance_uid)
     where m.list_id = %(list_id)s
     group by m.line
), answered as (
    select r.line, coalesce(f.studies, 0) as studies, coalesce(f.here, 0) as here, coalesce(f.listed, 0) as listed,
           case when coalesce(first.accession, first.patient_id, first.study_uid) is null then r.answer
                when f.studies > 1 then 'several'
                when f.here > 0 then 'found'
                when f.studies = 1 or first.asked_at is null then 'not-yet'
                else first.answer end as answer,
           first.reason, first.asked_at
      from cohort_list_row r
      join cohort_list_row first on first.list_id = r.list_id and first.line = coalesce(r.same_as, r.line)
      left join figures f on f.line = first.line
     where r.list_id = %(list_id)s
)
update cohort_list_row r
   set answer = a.answer, studies = a.studies, instances_here = a.here, instances_listed = a.listed,
       reason = a.reason, asked_at = a.asked_at, updated_at = now()
  from answered a
 where r.list_id = %(list_id)s and r.line = a.line
   and (r.answer, r.studies, r.instances_here, r.instances_listed, r.reason, r.asked_at)
       is distinct from (a.answer, a.studies, a.here, a.listed, a.reason, a.asked_at)
