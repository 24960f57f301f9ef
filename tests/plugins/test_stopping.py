"""A question whose asker has gone stops in the database."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from fastapi import HTTPException

from plugins.stopping import GONE, while_asked
from sluice.database import Database


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
