-- Every question to the linkage table, oldest first; `is_chained` is false where a row before it was changed or is gone.
select disclosure_id, asked_at, asked_by, database_user, project, direction, why, asked, found, pseudonyms, is_chained
  from linkage.disclosure_log
 where %(project)s::text is null or project = %(project)s
 order by disclosure_id
