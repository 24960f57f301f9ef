"""The login of tasks and pages works (all tests use it), and may do nothing that is its owner's alone."""

from __future__ import annotations

from pathlib import Path

import psycopg2
import psycopg2.errors
import pytest

from sluice.database import Database, DatabaseError, migrate, select
from sluice.database_roles import separate
from sluice.release.export import prepare
from sluice.release.linkage.disclosure import DisclosureError, disclosures, what_separation_lacks
from sluice.stack.postgres import EmbeddedPostgres
from tests.deid.planted import image
from tests.release.hospital_day import DAY, store_day
from tests.release.scene import Scene


@pytest.mark.parametrize(
    "statement",
    [
        "select count(*) from linkage.entry",
        "update linkage.entry set sealed = ''",
        "delete from linkage.entry",
        "truncate linkage.entry",
        "copy linkage.entry to stdout",
        "select count(*) from linkage.disclosure",
        "select count(*) from linkage.disclosure_log",
        "insert into linkage.disclosure (asked_by, project, direction, why, asked, found, pseudonyms) "
        "values ('x', 'x', 'pseudonym', 'a reason that is long', 0, 0, '{}')",
        "set role sluice_linkage",
        "grant sluice_linkage to sluice_app",
        "alter table patient_merge disable trigger all",
        "alter table release_approval disable trigger all",
        "drop trigger facts_stay on release_approval",
        "set session_replication_role = replica",
        "create or replace function facts_stay() returns trigger language plpgsql as 'begin return new; end'",
        "update schema_migration set sha256 = ''",
        "delete from reason",
        "create table mine (it text)",
        "create function mine() returns int language sql as 'select 1'",
        "alter table release add column mine text",
        "alter table linkage.entry owner to sluice_app",
        "copy reason to program 'cat'",
        "select pg_read_file('postgresql.conf')",
        "create role mine superuser",
    ],
)
def test_the_application_may_not(database: Database, statement: str) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        database.execute(statement)


def test_facts_stay_facts(scene: Scene) -> None:
    store_day(scene.database, scene.archive, [image(1)])
    scene.release(scene.project())
    scene.database.execute("insert into patient_merge (prior_id, surviving_id, said_by) values ('a', 'b', 'c')")
    for statement in ("update patient_merge set said_by = 'x'", "delete from patient_merge", "truncate patient_merge"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            scene.database.execute(statement)


def test_only_the_linkages_role_reads_it(scene: Scene, owner: Database) -> None:
    store_day(scene.database, scene.archive, [image(1)])
    prepare(scene.database, scene.project(), DAY, keys=scene.keys)
    with scene.database.transaction() as connection:
        assert what_separation_lacks(connection) is None
    with pytest.raises(DisclosureError, match="may not act as"):
        disclosures(scene.database)
    with owner.transaction() as connection:
        assert select(connection, "select count(*) as n from linkage.entry")[0]["n"] >= 4
        assert "superuser" in str(what_separation_lacks(connection))


def test_what_is_lacking_is_said(postgres: EmbeddedPostgres, owner: Database) -> None:
    assert "owns the database" in str(separate(owner.url, owner.url))
    host = owner.url.rpartition("@")[2]
    with pytest.raises(DatabaseError, match="names no user"):
        separate(owner.url, f"postgresql://{host}")
    with psycopg2.connect(owner.url) as connection, connection.cursor() as cursor:
        cursor.execute("create role too_much login superuser")
        cursor.execute("select give_to_application('too_much'), give_to_application('nobody')")
        assert cursor.fetchall() == [("too_much is a superuser or may make roles", "the role nobody is missing")]
        connection.rollback()
    assert separate(owner.url, postgres.application_url(host.rpartition("/")[2])) is None  # again


def test_who_may_not_migrate_is_told_who_may(database: Database, owner: Database) -> None:
    assert migrate(database.url) == []  # nothing lacks: every start of the application passes here
    owner.execute("delete from schema_migration where name like '0001%%'")
    with pytest.raises(DatabaseError, match="SLUICE_DATABASE_OWNER_URL"):
        migrate(database.url)


def test_airflows_user_has_nothing_to_say_in_sluices_database(postgres: EmbeddedPostgres, database: Database) -> None:
    name = database.url.rpartition("/")[2]
    elsewhere = Database(postgres.airflow_url().rpartition("/")[0] + f"/{name}")
    for statement in ("select from receipt", "select from linkage.entry", "create table mine ()"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            elsewhere.execute(statement)
    with Database(postgres.airflow_url()).transaction() as connection:
        assert select(connection, "select rolsuper from pg_roles where rolname = current_user")[0]["rolsuper"] is False
        with connection.cursor() as cursor:
            cursor.execute("create table mine ()")
        connection.rollback()


def test_a_stack_of_before_gives_airflows_tables_to_airflow(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "postgres", durable=False) as server:
        with psycopg2.connect(server.url("airflow")) as connection, connection.cursor() as cursor:
            cursor.execute("alter database airflow owner to sluice; alter schema public owner to pg_database_owner")
            cursor.execute("create type state as enum ('on'); create table dag (id serial primary key, state state)")
        connection.close()
    with EmbeddedPostgres(tmp_path / "postgres", durable=False) as server:
        Database(server.airflow_url()).execute("alter table dag add column more text; insert into dag values (1, 'on')")
        Database(server.airflow_url()).execute("alter type state add value 'off'")
