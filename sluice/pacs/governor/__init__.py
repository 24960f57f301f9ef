"""One governor for each PACS: every query and move, whoever asks, passes here.

    governor = Governor(database, "pacs_main", Use("sweep", "sweep of 2026-10-26"))
    with governor.association():
        with governor.request() as request:
            …
            request.answered("0000")

State lives in Sluice's database (0006_governor.sql), so it is shared by all DAGs, users, workers and hosts: the policy
of the hospital (`policy`), who holds and waits (`leases`), the pace (`pace`) and what the
PACS bears by experience (`pressure`). Without that database nothing is asked.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from sluice.database import Database
from sluice.pacs.governor.hold import Hold, Request
from sluice.pacs.governor.leases import Priority, Use
from sluice.pacs.governor.pace import Clock
from sluice.pacs.governor.policy import Policy
from sluice.pacs.governor.pressure import Tempo
from sluice.pacs.governor.stops import (
    GovernorLost,
    GovernorStop,
    PacsClosed,
    PacsOccupied,
    RetrievalCancelled,
    RetrievalPaused,
)
from sluice.settings import settings

__all__ = [
    "Governor",
    "GovernorLost",
    "GovernorStop",
    "PacsClosed",
    "PacsOccupied",
    "Priority",
    "Request",
    "RetrievalCancelled",
    "RetrievalPaused",
    "Use",
]

PATIENCE_S = 30.0
UNKNOWN = 2  # associations at once where neither policy nor connection says


class Governor:
    """What one user of a PACS asks through. Several threads may share it; each holds a slot of its own.

    Args:
        database: Sluice's database. It has to be reached directly or through session pooling: slots are session locks.
        pacs: name of the PACS, `PacsNode.name`.
        use: who asks, and what for.
        patience_s: how long to wait for a slot at a stretch, seconds.
        tempo: how fast is learned; clock: of the pace. Both for tests.
    """

    def __init__(
        self,
        database: Database,
        pacs: str,
        use: Use,
        patience_s: float = PATIENCE_S,
        tempo: Tempo | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.database = database
        self.pacs = pacs
        self.use = use
        self.patience_s = patience_s
        self.tempo = tempo or Tempo()
        self.clock = clock or Clock()
        self._here = threading.local()

    @contextmanager
    def association(self) -> Iterator[Hold]:
        """Wait for a slot, hold it for one association, and give it back at the end.

        Raises:
            PacsClosed: outside the weekly hours; `opens_at` says until when.
            PacsOccupied: no slot became free within `patience_s`.
            RetrievalPaused, RetrievalCancelled: a person said so for this window.
            DatabaseError, GovernorLost: Sluice's database is away.
        """
        connection = self.database.connect()
        connection.autocommit = True
        fallback = Policy.first(UNKNOWN, settings().time_zone)
        hold = Hold(connection, self.pacs, self.use, fallback, self.tempo, self.clock)
        try:
            hold.take(self.patience_s)
        except BaseException:
            connection.close()
            raise
        self._held().append(hold)
        try:
            yield hold
        finally:
            self._held().remove(hold)
            hold.leave()

    def request(self, service: str = "C-FIND") -> AbstractContextManager[Request]:
        """One request over the association that this thread holds; see `Hold.request`."""
        held = self._held()
        if not held:
            raise GovernorLost("A PACS was to be asked without a slot. Ask within Governor.association().")
        return held[-1].request(service)

    def _held(self) -> list[Hold]:
        if not hasattr(self._here, "held"):
            self._here.held = []
        held: list[Hold] = self._here.held
        return held
