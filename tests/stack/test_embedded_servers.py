"""The embedded Postgres and S3: they start, keep what they hold, refuse wrong keys, and end."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.database import Database, DatabaseError, copy_rows, migrate
from sluice.objects import ObjectStore, ObjectStoreError, connect
from sluice.stack.postgres import EmbeddedPostgres
from sluice.stack.s3 import EmbeddedS3


def test_postgres_keeps_its_data_over_a_restart(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "pg", durable=False) as first:
        assert migrate(first.url("sluice"))
        Database(first.url("sluice")).execute(
            "insert into sweep_window values ('2026-10-26', 'day', '2026-10-26', '2026-10-26')"
        )
    with EmbeddedPostgres(tmp_path / "pg", durable=False) as second:
        assert migrate(second.url("sluice")) == []
        assert Database(second.url("sluice")).execute("select 1 from sweep_window") == 1


def test_an_unreachable_database_is_explained_without_its_password() -> None:
    with pytest.raises(DatabaseError, match="sluice_db") as caught:
        Database("postgresql://u:hunter2@127.0.0.1:1/none").execute("select 1")
    assert "hunter2" not in str(caught.value)


def test_copied_rows_come_back_as_they_went_in(owner: Database) -> None:
    rows = [("a", {"x": 'quote " and \\N'}, 'te"xt,\n\\N'), ("b", {}, None), ("c", {}, "\\N"), ("d", {}, "")]
    with owner.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("create table sample (id text primary key, doc jsonb, words text)")
        assert copy_rows(connection, "sample", ("id", "doc", "words"), rows) == 4
        assert copy_rows(connection, "sample", ("id", "doc", "words"), rows) == 0
        cursor.execute("select * from sample order by id")
        assert cursor.fetchall() == [
            ("a", {"x": 'quote " and \\N'}, 'te"xt,\n\\N'),
            ("b", {}, None),
            ("c", {}, "\\N"),
            ("d", {}, ""),
        ]


def test_the_bucket_gives_back_what_was_put(bucket: ObjectStore) -> None:
    digest = bucket.put("a/b.bin", b"\x00" * 10)
    assert bucket.get("a/b.bin") == b"\x00" * 10
    assert [(entry.key, entry.bytes) for entry in bucket.list("a/")] == [("a/b.bin", 10)]
    assert len(digest) == 64


def test_a_wrong_key_is_explained(s3: EmbeddedS3) -> None:
    with pytest.raises(ObjectStoreError, match="sluice_s3"):
        connect(s3.endpoint_url, s3.access_key, "wrong-secret-key", "any").ensure()
