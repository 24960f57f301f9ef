-- The login of tasks and pages: it reads and writes what the pipeline knows, and owns nothing. So it cannot read who stands
-- behind a pseudonym, switch off the triggers by which facts stay facts, nor change what tables there are.

-- What only the owner writes: which migrations were applied, and the meanings of reasons.
create function owners_tables() returns text[] language sql immutable as $$
    select array['schema_migration', 'reason']
$$;

-- Gives a login what tasks and pages need of this database, and takes what they must not have; run it again after each
-- migration. Says what is lacking, null where nothing is.
create function give_to_application(application name) returns text language plpgsql as $$
declare
    one text;
begin
    if not exists (select from pg_roles where rolname = application) then
        return format('the role %I is missing', application);
    end if;
    if application = current_user then
        return format('%I owns the database: let tasks and pages connect as another user', application);
    end if;
    if (select rolsuper or rolcreaterole or rolbypassrls from pg_roles where rolname = application) then
        return format('%I is a superuser or may make roles', application);
    end if;
    if pg_has_role(application, current_user, 'member') then
        return format('%I is a member of %I, who owns the database', application, current_user);
    end if;
    revoke create on schema public from public;
    execute format('revoke all on all tables in schema public from %I', application);
    execute format('grant usage on schema public to %I', application);
    execute format('grant select, insert, update, delete on all tables in schema public to %I', application);
    execute format('grant usage, select on all sequences in schema public to %I', application);
    execute format('alter default privileges in schema public grant select, insert, update, delete on tables to %I',
                   application);
    execute format('alter default privileges in schema public grant usage, select on sequences to %I', application);
    if current_setting('server_version_num')::integer >= 170000 then  -- to analyze what it filled
        execute format('grant maintain on all tables in schema public to %I', application);
        execute format('alter default privileges in schema public grant maintain on tables to %I', application);
    end if;
    foreach one in array owners_tables() loop
        if to_regclass('public.' || one) is not null then
            execute format('revoke insert, update, delete on public.%I from %I', one, application);
        end if;
    end loop;
    return linkage.give_to_role(application);
end $$;
