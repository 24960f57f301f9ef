-- Lists with how many of their rows have which answer, newest first.
select l.list_id, l.project, l.name, l.file_name, l.sha256, l.columns, l.ignored, l.uploaded_by, l.uploaded_at,
       l.answered_at, coalesce(c.answers, '{}') as answers, coalesce(c.doubles, 0)::integer as doubles
  from cohort_list l
  left join lateral (select jsonb_object_agg(answer, n) as answers, sum(doubles) as doubles
                       from (select answer, count(*) as n, count(same_as) as doubles
                               from cohort_list_row r where r.list_id = l.list_id group by answer) each) c on true
 where (%(list_id)s::bigint is null or l.list_id = %(list_id)s)
   and (%(project)s::text is null or l.project = %(project)s)
   and (%(name)s::text is null or l.name = %(name)s)
 order by l.uploaded_at desc
