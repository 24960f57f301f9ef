-- Whether the user of this connection could read the linkage table.
select current_user::text                                                        as name,
       (select rolsuper from pg_roles where rolname = current_user)              as is_super,
       exists (select from pg_roles where rolname = 'sluice_linkage')            as has_role,
       (select rolname::text from pg_namespace n join pg_roles r on r.oid = n.nspowner
         where nspname = 'linkage')                                              as owner,
       -- since Postgres 16 who made a role may grant it without being able to act as it
       coalesce((select pg_has_role(current_user, oid,
                                    case when current_setting('server_version_num')::integer >= 160000
                                         then 'set' else 'member' end)
                   from pg_roles where rolname = 'sluice_linkage'), false)       as is_member
