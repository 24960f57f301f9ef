"""The page inside a real Airflow API application, over a ledger of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from sluice.database import Database
from sluice.quality.check import check
from sluice.settings import Settings
from sluice.stack.postgres import EmbeddedPostgres
from tests.conftest import temporary_database
from tests.hospital_day import write_day
from tests.ledger_rows import LedgerRows


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of archive, canonical images and reports."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def ledger(postgres: EmbeddedPostgres, home: Path) -> Iterator[Database]:
    """A day's ledger with its quality checked; the tests of a module only read it."""
    with temporary_database(postgres) as database:
        write_day(LedgerRows(database), home / "canonical")
        check(database, "2026-10-26", home / "reports" / "quality")
        yield database


@pytest.fixture(scope="module")
def client(airflow: pytest.MonkeyPatch, ledger: Database, home: Path) -> Iterator[TestClient]:
    """Airflow's whole API application with our plugin in it, and the connection `sluice_db` on the ledger."""
    from airflow import plugins_manager
    from airflow.api_fastapi.app import create_app, purge_cached_app

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_SLUICE_DB", ledger.url)
        site = Settings(home=home)
        for module in ("plugins.api", "plugins.files"):
            patch.setattr(f"{module}.settings", lambda: site)
        plugins_manager._get_plugins.cache_clear()
        application = create_app("core")
        yield TestClient(application, follow_redirects=False)
        purge_cached_app()


@pytest.fixture
def viewer(client: TestClient) -> TestClient:
    """The client, logged in with Airflow's lowest role."""
    return logged_in(client, "viewer")


def logged_in(client: TestClient, role: str | None) -> TestClient:
    """A client that sends the token of a user with this role."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="vera", role=role))
    return TestClient(client.app, headers={"Authorization": f"Bearer {token}"}, follow_redirects=False)
