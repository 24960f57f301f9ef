"""An association that passes the governor before each request and tells it what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset
from pydicom.uid import UID

from sluice.pacs.association import Link, PacsAssociation
from sluice.pacs.errors import PacsError
from sluice.pacs.governor.hold import Hold, Request
from sluice.pacs.governor.stops import GovernorLost
from sluice.pacs.node import PacsNode
from sluice.pacs.outcomes import Found, Moved

if TYPE_CHECKING:
    from sluice.pacs.fetch.get import Fetching


class GovernedAssociation(PacsAssociation):
    """An association over a slot that the governor gave; made by `associate`.

    Before a request the governor may have us give the slot to somebody more urgent: the association is released, and
    opened again when the next slot is ours. `find`, `move` and `get` raise `GovernorStop` where nothing may be asked.
    """

    def __init__(self, node: PacsNode, connect: Callable[[], Link], hold: Hold) -> None:
        self._connect = connect
        self._hold = hold
        self._given_up = False
        super().__init__(node, self._connected())
        hold.close = self._give_up

    @property
    def is_open(self) -> bool:
        """Whether more can be asked; where the association was given up or broken off by us, over a new one."""
        return self._given_up or super().is_open

    def find(self, identifier: Dataset) -> Found:
        """See `PacsAssociation.find`."""
        with self._asking("C-FIND") as request:
            found = super().find(identifier)
            # a query for many studies may end in "out of resources" only because its answer is too long
            may_be_cap = identifier.QueryRetrieveLevel == "STUDY" and not identifier.get("StudyInstanceUID")
            request.answered(found.status, items=len(found.answers), may_be_cap=may_be_cap)
        return found

    def move(
        self,
        identifier: Dataset,
        progress: Callable[[], object] | None = None,
        has_to_end: Callable[[], bool] | None = None,
    ) -> Moved:
        """See `PacsAssociation.move`; the governor says when it has to end."""
        with self._asking("C-MOVE") as request:
            before = self._hold.newest_receipt()
            return self._told(request, identifier, super().move(identifier, progress, request.has_to_end), before)

    def get(self, identifier: Dataset, fetching: Fetching, has_to_end: Callable[[], bool] | None = None) -> Moved:
        """See `PacsAssociation.get`; the governor says when it has to end."""
        with self._asking("C-GET") as request:
            before = self._hold.newest_receipt()
            return self._told(request, identifier, super().get(identifier, fetching, request.has_to_end), before)

    def store(self, sop_class: UID, sop_instance: UID, encoded: Callable[[UID], bytes]) -> str:
        """See `PacsAssociation.store`."""
        with self._asking("C-STORE") as request:
            sent = 0

            def counted(syntax: UID) -> bytes:
                nonlocal sent
                data = encoded(syntax)
                sent = len(data)
                return data

            status = super().store(sop_class, sop_instance, counted)
            request.answered(status, sent, 1)
        return status

    def _told(self, request: Request, identifier: Dataset, moved: Moved, before: int) -> Moved:
        if moved.interrupted:
            self._given_up = not self._link.is_open
        # the slot may be lost, which the next request says; what came of this one is told all the same
        with suppress(GovernorLost):
            self._tell(request, identifier, moved, before)
        return moved

    def _tell(self, request: Request, identifier: Dataset, moved: Moved, before: int) -> None:
        if moved.error is not None:
            request.broke(moved.error)
            return
        size = self._hold.bytes_after(before, _studies(identifier))
        if moved.interrupted:
            request.answered(None, size)  # what we cut short says nothing of the PACS
            return
        # A702 also ends a request of which every sub-operation failed: of a single instance that says nothing of
        # the PACS, only of the instance
        is_one = moved.failed == 1 and not moved.completed
        status = "B000" if moved.status == "A702" and is_one else moved.status
        request.answered(status, size, moved.completed + moved.failed + moved.warnings)

    @contextmanager
    def _asking(self, service: str) -> Iterator[Request]:
        with self._hold.request(service) as request:
            if self._given_up:
                self._link = self._connected()
                self._given_up = False
            yield request

    def _connected(self) -> Link:
        try:
            return self._connect()
        except PacsError as error:
            self._hold.failed(error)
            raise

    def _give_up(self) -> None:
        self._given_up = True
        self.release()


def _studies(identifier: Dataset) -> list[str]:
    """The Study Instance UIDs that a request names: one, or a list (PS3.4 C.2.2.2.2)."""
    element = identifier["StudyInstanceUID"]
    return [str(element.value)] if element.VM == 1 else [str(uid) for uid in element.value]
