"""Fill a database with the synthetic hospital of `ten_million.sql`."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import Database

FIRST_DAY, DAYS = "2023-11-01", 1092
LAST_DAY = "2026-10-27"
ROOT = "1.2.826.0.1.3680043.8.498.10"
STATEMENTS = Path(__file__).with_name("ten_million.sql")
INDEXED = ("instance", "receipt", "expectation", "quality_check")  # the large tables


def load(database: Database, studies: int = 70_000) -> dict[str, float]:
    """Fill an empty, migrated database, and say how that goes; seconds by table."""
    took: dict[str, float] = {}
    numbers = {"root": ROOT, "first": FIRST_DAY, "days": DAYS, "studies": studies, "listed": studies * 6 // 5}
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("select setseed(0.42)")
        cursor.execute("set local maintenance_work_mem = '1GB'; set local work_mem = '256MB'; set local jit = off")
        with _indexes_later(connection, took):
            for statement in STATEMENTS.read_text(encoding="utf-8").split("\n;\n"):
                started = time.monotonic()
                cursor.execute(statement.format(**numbers))
                named = re.search(r"^(?:insert into|create table) (\w+)", statement, re.MULTILINE)
                if named:
                    took[named[1]] = took.get(named[1], 0.0) + time.monotonic() - started
                    print(f"  {named[1]}: {cursor.rowcount:,} rows, {time.monotonic() - started:.0f} s", flush=True)
    started = time.monotonic()
    connection = database.connect()
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("vacuum (analyze)")
    connection.close()
    took["vacuum"] = time.monotonic() - started
    return took


@contextmanager
def _indexes_later(connection: Connection, took: dict[str, float]) -> Iterator[None]:
    """Rows first, then indexes and keys of the large tables: several times quicker than one entry at a time."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint "
            "where conrelid = any (%s::regclass[]) and contype in ('p', 'u', 'f')",
            (list(INDEXED),),
        )
        constraints = cursor.fetchall()
        for table, name, _ in constraints:
            cursor.execute(f'alter table {table} drop constraint "{name}"')
        cursor.execute(
            "select indexrelid::regclass::text, pg_get_indexdef(indexrelid) from pg_index "
            "where indrelid = any (%s::regclass[])",
            (list(INDEXED),),
        )
        indexes = cursor.fetchall()
        for name, _ in indexes:
            cursor.execute(f"drop index {name}")
        yield
        started = time.monotonic()
        for _, definition in indexes:
            cursor.execute(definition)
        for table, name, definition in constraints:
            cursor.execute(f'alter table {table} add constraint "{name}" {definition}')
        took["indexes"] = time.monotonic() - started
