"""A retrieval that is under way when somebody wants it to end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sluice.archive.storing import Storing
from sluice.database import Database
from sluice.pacs.fetch.retrieve import missing_studies, retrieve_missing
from sluice.pacs.fetch.ways import Source
from sluice.pacs.governor import Governor, Priority, Use
from sluice.pacs.interruption import Interruption
from sluice.pacs.node import PacsNode
from tests.pacs.sending import rows

LONGEST_S = 30.0


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LONGEST_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {LONGEST_S:g} s"
        time.sleep(0.02)


class Retrieval:
    """One pass in a thread of its own; what it returns or raises is its `outcome`.

    Attributes:
        took_s: after `outcome`, seconds since `ordered` was called.
    """

    def __init__(
        self,
        database: Database,
        node: PacsNode,
        window_key: str,
        storing: Storing | None = None,
        priority: Priority = Priority.ROUTINE,
    ) -> None:
        use = Use("retrieve", "a retrieval", priority, window_key)
        self._governor = Governor(database, node.name, use, patience_s=LONGEST_S)
        self._arguments = (database, [Source(node, self._governor)], window_key)
        self._storing = storing
        self._outcome: Any = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._since = self.took_s = 0.0

    def _run(self) -> None:
        database, sources, key = self._arguments
        try:
            self._outcome = retrieve_missing(database, sources, key, missing_studies(database, key), self._storing)
        except BaseException as error:  # the test looks at it
            self._outcome = error
        self.took_s = time.monotonic() - self._since

    def start(self) -> Retrieval:
        self._thread.start()
        return self

    def ordered(self) -> None:
        """From now on it has to end."""
        self._since = time.monotonic()

    @property
    def outcome(self) -> Any:
        self._thread.join(LONGEST_S)
        assert not self._thread.is_alive(), "it goes on"
        return self._outcome


def holder_has_looked(database: Database) -> None:
    """Return when the holder of a slot has seen how things are now, with its third heartbeat from now at the latest, or
    is gone."""
    beats = set()

    def looked() -> bool:
        held = rows(database, "select heartbeat_at from pacs_use where granted_at is not null and ended_at is null")
        beats.update(row["heartbeat_at"] for row in held)
        return not held or len(beats) > 3

    eventually(looked)


@contextmanager
def told_to_stop(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Set when a source was told to stop."""
    told = threading.Event()
    begins = Interruption.begins

    def watched(self: Interruption) -> bool:
        begun = begins(self)
        if begun:
            told.set()
        return begun

    with monkeypatch.context() as patch:
        patch.setattr(Interruption, "begins", watched)
        yield told
