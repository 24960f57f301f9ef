"""A real browser against the page served by a real server, with the login replaced by one that lets us in."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sluice.database import Database
from sluice.quality.check import check
from sluice.settings import Settings
from sluice.stack.postgres import EmbeddedPostgres
from sluice.stack.processes import free_port
from tests.conftest import temporary_database
from tests.hospital_day import write_day
from tests.ledger_rows import LedgerRows

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# As Airflow frames a plugin's page, in the dark theme.
FRAME = (
    '<html class="dark"><link rel="icon" href="data:,"><body><iframe src="/sluice/" width="1000" height="700" '
    'sandbox="allow-scripts allow-same-origin allow-forms allow-downloads"></iframe></body></html>'
)
CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Headless Chromium; ended with this folder, because Playwright's event loop would be in the way of others'."""
    if not CHROMIUM.is_file():
        pytest.fail("Chromium is missing. Run: apt-get install -y --no-install-recommends chromium", pytrace=False)
    from playwright.sync_api import sync_playwright

    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    quiet += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=quiet)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def day_database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """A database for all tests of a module; they only read."""
    with temporary_database(postgres) as database:
        yield database


@pytest.fixture(scope="module")
def page_url(day_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of the page over a day's ledger, mounted at /sluice as Airflow mounts it."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        site = Settings(home=tmp_path_factory.mktemp("home"))
        for module in ("plugins.api", "plugins.files"):
            monkeypatch.setattr(f"{module}.settings", lambda: site)
        yield from serve(day_database, site)


def serve(database: Database, site: Settings) -> Iterator[str]:
    """Fill the ledger, check its quality, serve the page over both."""
    write_day(LedgerRows(database), site.canonical)
    check(database, "2026-10-26", site.reports / "quality")
    yield from serve_page(database)


def serve_page(database: Database, *person: Any) -> Iterator[str]:
    """Serve the page over a database; `person` says who looks at it."""
    import uvicorn
    from fastapi import FastAPI
    from fastapi.responses import HTMLResponse

    from plugins import app, connections
    from plugins.connections import read_only

    page = app.build([], *person)
    page.dependency_overrides[connections.database] = lambda: read_only(database.url)
    page.dependency_overrides[connections.writable] = lambda: database
    page.dependency_overrides[connections.unhurried] = lambda: database
    outer = FastAPI()
    outer.mount("/sluice", page)
    outer.get("/plugin", response_class=HTMLResponse)(lambda: FRAME)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(outer, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        assert time.monotonic() < deadline, "the server was not ready after 30 s"
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}/sluice/"
    server.should_exit = True
    thread.join(15)
