"""Servers that every room's tests share: embedded Postgres and S3, real ones, thrown away at the end."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import psycopg2
import pytest

from sluice.database import Database, migrate
from sluice.database_roles import separate
from sluice.objects import ObjectStore
from sluice.settings import CHECKOUT, settings
from sluice.stack.postgres import EmbeddedPostgres
from sluice.stack.s3 import EmbeddedS3

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", "var/hypothesis")
# The same examples every time, and no time limit an example: two cores are shared with other tests.
hypothesis.settings.register_profile("sluice", derandomize=True, deadline=None)
hypothesis.settings.load_profile("sluice")


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A Postgres cluster of this test session."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), durable=False) as server:
        migrate(server.url("sluice"))
        assert separate(server.url("sluice"), server.application_url()) is None
        yield server


@contextmanager
def temporary_database(postgres: EmbeddedPostgres, as_owner: bool = False) -> Iterator[Database]:
    """A fresh, migrated Sluice database as tasks and pages see it, or its owner, dropped at the end."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    admin = psycopg2.connect(postgres.url("postgres"))
    admin.autocommit = True
    with admin.cursor() as cursor:
        cursor.execute(f"create database {name} template sluice")
    try:
        yield Database(postgres.url(name) if as_owner else postgres.application_url(name))
    finally:
        with admin.cursor() as cursor:
            cursor.execute(f"drop database {name} with (force)")
        admin.close()


@pytest.fixture
def database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """A fresh, migrated Sluice database for one test."""
    with temporary_database(postgres) as fresh:
        yield fresh


@pytest.fixture
def owner(postgres: EmbeddedPostgres, database: Database) -> Database:
    """The database of the test as its owner, a superuser, sees it."""
    return Database(postgres.url(database.url.rpartition("/")[2]))


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedS3]:
    """An S3 server of this test session."""
    with EmbeddedS3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def bucket(s3: EmbeddedS3) -> ObjectStore:
    """A fresh bucket for one test."""
    return s3.bucket(f"test-{uuid.uuid4().hex[:12]}")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images beside the checkout; tests that need it are skipped where it is absent."""
    data = SHARED / "data"
    if not data.is_dir():
        pytest.skip("no ../shared/data beside this checkout: tests on real images are skipped")
    return data


@pytest.fixture(scope="session")
def airflow(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    """A migrated Airflow in this process; returns what its environment can be changed with."""
    environment = {
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
        "AIRFLOW__CORE__DAGS_FOLDER": str(CHECKOUT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__FERNET_KEY": "c2x1aWNlLXRlc3RzLXVzZS1hLWZpeGVkLWtleS0wMDE=",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": postgres.url("airflow").replace("postgresql", "postgresql+psycopg2", 1),
        "AIRFLOW__API_AUTH__JWT_SECRET": "t" * 64,
        "AIRFLOW__API__BASE_URL": "http://localhost:8080",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(tmp_path_factory.mktemp("airflow-logs")),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        from airflow import settings as airflow_settings
        from airflow.utils.db import initdb
        from airflow.utils.session import create_session

        # another test may have imported Airflow before us, with another database
        airflow_settings.dispose_orm()
        airflow_settings.configure_vars()
        airflow_settings.configure_orm()
        with create_session() as session:
            initdb(session=session)
        yield patch
        airflow_settings.dispose_orm()
        settings.cache_clear()


@pytest.fixture(scope="session")
def dag_bag(airflow: pytest.MonkeyPatch) -> Any:
    """All DAGs, parsed once."""
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(CHECKOUT / "dags")
