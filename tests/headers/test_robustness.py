"""What must not disturb: being killed, others that extract the same, and a database from before blocks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import psycopg2
import pytest

from sluice.batches import Batch
from sluice.database import SQL, Database, migrate
from sluice.headers.blocks import header_of
from sluice.headers.extract import extract
from sluice.stack.postgres import EmbeddedPostgres
from tests.headers.archive import receive
from tests.headers.test_extract import assert_consistent, ct, rows

EXTRACT = """
import sys
from pathlib import Path
from sluice.batches import Batch
from sluice.database import Database
from sluice.headers import extract
extract.CHUNK = 5
extract.extract(Database(sys.argv[1]), Path(sys.argv[2]), Batch("2026-10-26", 1, 1_000_000, 0), workers=0)
"""


def several(count: int) -> list[tuple[str, bytes]]:
    return [(f"2.25.{n}", ct(f"2.25.{n}", SeriesInstanceUID=f"2.25.7.{n % 7}")) for n in range(1, count + 1)]


def test_killed_in_the_middle_it_goes_on_where_it_was(database: Database, tmp_path: Path) -> None:
    (batch,) = receive(database, tmp_path, several(300))
    for _ in range(2):
        before = len(rows(database, "select from header_block"))
        running = subprocess.Popen([sys.executable, "-c", EXTRACT, database.url, str(tmp_path)])
        deadline = time.monotonic() + 60
        while len(rows(database, "select from header_block")) <= before and running.poll() is None:
            assert time.monotonic() < deadline
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
        assert_consistent(database)
    done = len(rows(database, "select from instance"))
    assert 0 < done < 300
    extract(database, tmp_path, batch, workers=0)
    assert len(rows(database, "select from instance")) == 300
    assert_consistent(database)


def test_overlapping_batches_at_once_share_the_work(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.headers.extract.CHUNK", 10)
    (batch,) = receive(database, tmp_path, several(120))
    parts = [Batch(batch.window_key, batch.first + at, batch.first + at + 79, 80) for at in (0, 20, 40)]
    with ThreadPoolExecutor(3) as threads:
        done = list(threads.map(lambda part: extract(database, tmp_path, part, workers=0).indexed, parts))
    assert sum(done) == 120
    assert len(rows(database, "select from instance")) == 120
    assert_consistent(database)


def test_what_was_indexed_before_blocks_were_keeps_its_row_and_gets_a_block(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    name = f"test_{uuid.uuid4().hex[:12]}"
    admin = psycopg2.connect(postgres.url("postgres"))
    admin.autocommit = True
    with admin.cursor() as cursor:
        cursor.execute(f"create database {name} template template0")
    try:
        database = Database(postgres.url(name))
        with database.transaction() as connection, connection.cursor() as cursor:
            for path in sorted((SQL / "migrations").glob("*.sql")):
                if path.name < "0012":
                    cursor.execute(path.read_text(encoding="utf-8"))
            cursor.execute(
                """
                insert into study (study_instance_uid) values ('2.25.7');
                insert into series (series_instance_uid, study_instance_uid) values ('2.25.7.1', '2.25.7');
                insert into instance (sop_instance_uid, series_instance_uid, study_instance_uid, sop_class_uid,
                                      transfer_syntax_uid, header, indexed_at)
                values ('2.25.1', '2.25.7.1', '2.25.7', '1', '1', '{}', '2026-01-01');
                create table schema_migration (name text primary key, sha256 text, applied_at date default now());
                """
            )
            for path in sorted((SQL / "migrations").glob("*.sql")):
                if path.name < "0012":
                    digest = sha256(path.read_text(encoding="utf-8").encode()).hexdigest()
                    cursor.execute("insert into schema_migration values (%s, %s)", (path.name, digest))
        assert "0013_headers_in_blocks.sql" in migrate(database.url)
        (batch,) = receive(database, tmp_path, [(f"2.25.{n}", ct(f"2.25.{n}")) for n in (1, 2)])
        summary = extract(database, tmp_path, batch)
        assert (summary.read, summary.indexed) == (2, 2)
        found = rows(
            database, "select patient_id, indexed_at::date::text as day from instance order by sop_instance_uid"
        )
        assert found[0] == {"patient_id": "P1", "day": "2026-01-01"}
        assert header_of(database, "2.25.1")["00100020"]["Value"] == ["P1"]
        assert_consistent(database)
        assert extract(database, tmp_path, batch).read == 0
    finally:
        with admin.cursor() as cursor:
            cursor.execute(f"drop database {name} with (force)")
        admin.close()
