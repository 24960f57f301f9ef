-- How much a researcher's list is, as far as it is known. Parameter: list_id.
select coalesce(sum(instances_here), 0)::bigint                                      as here,
       coalesce(sum(greatest(instances_listed - instances_here, 0)), 0)::bigint      as lacking,
       count(*) filter (where answer = 'not-yet' and studies = 0)                    as unknown_rows,
       (select sum(instances)::float8 / nullif(count(distinct study_instance_uid), 0) from header_block)
                                                                                     as instances_a_study,
       (select sum(file_bytes)::float8 / nullif(sum(instances), 0) from header_block) as bytes_an_instance,
       (select pacs from attempt order by attempt_id desc limit 1)                   as pacs
  from cohort_list_row
 where list_id = %(list_id)s and same_as is null
