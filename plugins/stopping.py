"""Questions that end with whoever asked: a page that asks anew drops the request before, and its statement stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from fastapi import HTTPException, Request
from psycopg2 import InterfaceError, OperationalError
from psycopg2.extensions import connection as Connection  # noqa: N812
from starlette.concurrency import run_in_threadpool

from sluice.database import Database

LOOK_S = 0.2
GONE = 499  # as nginx logs it: the client closed the request
Answer = TypeVar("Answer")


class Stoppable(Database):
    """A database whose statements another thread can stop."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._connections: list[Connection] = []

    def connect(self) -> Connection:
        """A connection, the statements of which `stop` ends."""
        connection = super().connect()
        self._connections.append(connection)
        return connection

    def stop(self) -> None:
        """End the statements that are under way, on every connection; they fail with QueryCanceled."""
        for connection in list(self._connections):
            with suppress(InterfaceError, OperationalError):  # closed in this moment
                if not connection.closed:
                    connection.cancel()


async def while_asked(request: Request, store: Database, work: Callable[[Database], Answer]) -> Answer:
    """What `work` answers, unless who asked goes away: then its statements are stopped."""
    stoppable = Stoppable(store.url)
    doing = asyncio.ensure_future(run_in_threadpool(work, stoppable))
    gone = False
    while not (await asyncio.wait([doing], timeout=LOOK_S))[0]:
        gone = gone or await request.is_disconnected()
        if gone:  # each time anew: work goes from one statement to the next
            stoppable.stop()
    if gone:
        doing.exception()
        raise HTTPException(GONE)
    return doing.result()
