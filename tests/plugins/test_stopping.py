"""A question whose asker has gone stops in the database."""

from __future__ import annotations

import asyncio
import http.client
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi import HTTPException

from plugins.stopping import GONE, while_asked
from sluice.database import Database
from tests.browser.conftest import serve_page
from tests.pacs.sending import rows


class Asker:
    """A request of somebody who goes away after some looks."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    async def is_disconnected(self) -> bool:
        self.looks -= 1
        return self.looks < 0


def test_the_statement_of_who_has_gone_is_stopped(database: Database) -> None:
    def work(store: Database) -> int:
        return store.execute("select pg_sleep(60)")

    began = time.monotonic()
    with pytest.raises(HTTPException) as error:
        asyncio.run(while_asked(Asker(1), database, work))  # type: ignore[arg-type]
    assert error.value.status_code == GONE
    assert time.monotonic() - began < 30


def test_statements_on_several_connections_are_all_stopped(database: Database) -> None:
    def work(store: Database) -> None:
        with ThreadPoolExecutor(3) as pool:  # as a preview asks
            for one in [pool.submit(store.execute, "select pg_sleep(60)") for _ in range(3)]:
                one.result()

    began = time.monotonic()
    with pytest.raises(HTTPException):
        asyncio.run(while_asked(Asker(2), database, work))  # type: ignore[arg-type]
    assert time.monotonic() - began < 30


def test_who_waits_is_answered(database: Database) -> None:
    def work(store: Database) -> int:
        return store.execute("select 1, pg_sleep(0.5)")

    asker: Any = Asker(1000)
    assert asyncio.run(while_asked(asker, database, work)) == 1


def test_what_goes_wrong_is_told(database: Database) -> None:
    def work(store: Database) -> int:
        raise ValueError("wrong")

    asker: Any = Asker(1000)
    with pytest.raises(ValueError, match="wrong"):
        asyncio.run(while_asked(asker, database, work))


def test_a_preview_that_nobody_waits_for_any_more_is_stopped(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "sluice.cohorts.preview.preview",
        lambda store, expression: store.execute("select pg_sleep(60) as stopped_by_us"),
    )
    active = "select count(*) as n from pg_stat_activity where query like '%%stopped_by_us' and state = 'active'"

    def sleeping() -> bool:
        return rows(database, active)[0]["n"] > 0

    for url in serve_page(database):
        place = urlsplit(url)
        client = http.client.HTTPConnection(place.hostname or "", place.port)
        headers = {"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"}
        client.request("POST", f"{place.path}api/cohorts/preview", b'{"text": "{}"}', headers)
        until(sleeping)
        client.close()
        until(lambda: not sleeping())


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "it did not come about within 20 s"
        time.sleep(0.05)
