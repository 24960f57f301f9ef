-- All that is in Airflow's database belongs to its own user, `airflow`; installations of before made it as the superuser.
-- Run it there as the superuser, who has made the role. Again: nothing is done.
do $$
declare
    one record;
begin
    if (select pg_get_userbyid(datdba) from pg_database where datname = current_database()) = 'airflow' then
        return;
    end if;
    execute format('alter database %I owner to airflow', current_database());
    alter schema public owner to airflow;
    for one in select c.oid::regclass as name from pg_class c
                where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'S')
                  and not exists (select from pg_depend d where d.objid = c.oid and d.deptype in ('a', 'i', 'e')) loop
        execute format('alter table %s owner to airflow', one.name);
    end loop;
    for one in select t.oid::regtype as name from pg_type t
                where t.typnamespace = 'public'::regnamespace and t.typtype in ('e', 'd') loop
        execute format('alter type %s owner to airflow', one.name);
    end loop;
end $$
