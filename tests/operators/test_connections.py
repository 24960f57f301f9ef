"""Airflow connections become what the domain works with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from operators.bootstrap import wanted_connections
from operators.connections import bucket, bucket_name, database, database_url
from operators.pacs_hook import ConnectionIncomplete
from sluice.database import Database, select
from sluice.release.linkage.keys import FolderKeys, ProjectKeyError, new_key
from sluice.settings import FirstConnections, Settings
from sluice.stack.s3 import EmbeddedS3

pytestmark = pytest.mark.airflow


def connection(**fields: Any) -> Any:
    from airflow.sdk import Connection

    return Connection(
        conn_id="sluice_db", **{"conn_type": "postgres", "host": "db.example", "schema": "sluice"} | fields
    )


def test_the_database_url_survives_odd_passwords_and_carries_tls() -> None:
    made = connection(login="us er", password="p@ss/w:rd?", port=6432, extra=json.dumps({"sslmode": "require", "x": 1}))
    assert database_url(made) == "postgresql://us%20er:p%40ss%2Fw%3Ard%3F@db.example:6432/sluice?sslmode=require"


def test_the_url_that_bootstrap_reads_is_the_url_that_tasks_get() -> None:
    url = "postgresql://us%20er:p%40ss%2Fw%3Ard%3F@db.example:6432/sluice?sslmode=require"
    (wanted,) = wanted_connections(Settings(database_url=url), FirstConnections())
    fields = {name: getattr(wanted, name) for name in ("host", "port", "schema", "login", "password")}
    assert database_url(connection(**fields, extra=json.dumps(wanted.extra))) == url


def test_a_connection_without_host_says_so() -> None:
    with pytest.raises(ConnectionIncomplete, match="lacks host or database"):
        database_url(connection(host=None))


def test_the_database_answers(airflow: Any, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SLUICE_DB", database.url.replace("postgresql://", "postgres://"))
    from operators import connections

    with connections.database().transaction() as opened:
        assert select(opened, "select count(*) as n from sweep_window") == [{"n": 0}]


def test_a_missing_connection_says_what_to_do(airflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_SLUICE_DB", raising=False)
    with pytest.raises(ConnectionIncomplete, match=r"python -m operators\.bootstrap"):
        database()


def test_the_bucket_of_an_aws_connection_works(airflow: Any, s3: EmbeddedS3, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.bucket("by-connection")
    first = FirstConnections(
        s3_endpoint=s3.endpoint_url, s3_access_key=s3.access_key, s3_secret_key=s3.secret_key, s3_bucket="by-connection"
    )
    wanted = wanted_connections(Settings(), first)[-1]
    monkeypatch.setenv(
        "AIRFLOW_CONN_SLUICE_S3",
        json.dumps({"conn_type": "aws", "login": wanted.login, "password": wanted.password, "extra": wanted.extra}),
    )
    store = bucket()
    digest = store.put("a/b.txt", b"released")
    assert store.get("a/b.txt") == b"released"
    assert [item.key for item in store.list("a/")] == ["a/b.txt"]
    assert len(digest) == 64


def test_a_bucket_has_to_be_named() -> None:
    with pytest.raises(ConnectionIncomplete, match="bucket_name"):
        bucket_name(connection(extra="{}"))


def test_a_projects_key_comes_of_its_connection_else_of_the_folder(
    airflow: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from operators.connections import keys
    from sluice.settings import settings

    held = new_key("chest-follow-up", 1)
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path))
    given = {"conn_type": "generic", "password": held.line()}
    monkeypatch.setenv("AIRFLOW_CONN_SLUICE_KEY_CHEST_FOLLOW_UP", json.dumps(given))
    settings.cache_clear()
    try:
        assert keys().ring("chest-follow-up").keys == (held,)
        with pytest.raises(ProjectKeyError, match="sluice_key_chest_follow_up"):
            keys().make("chest-follow-up", 2)
        assert keys().ring("radiographs").keys == ()
        assert keys().make("radiographs", 1) == FolderKeys(tmp_path / "keys").ring("radiographs").newest
    finally:
        monkeypatch.undo()
        settings.cache_clear()
