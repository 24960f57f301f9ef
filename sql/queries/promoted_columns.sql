-- Elements that are typed columns of `instance` because somebody promoted them.
select name, path, type, promoted_at, filled_at from promoted_column order by name
