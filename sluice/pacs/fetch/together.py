"""Several small studies by one C-MOVE.

The unique key of the level that is retrieved may be a list of UIDs (PS3.4 C.4.2.2.1). A request of its own for each
study of a handful of images makes PACS, network and ledger wait for each other most of the time. Not every PACS takes
a list, so it is asked for one study first, and what it does with the first list is remembered. Its counts are those of
all studies together, so each study that has not come as a whole is asked for by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from sluice.database import Database
from sluice.pacs.fetch.arrivals import wait_for
from sluice.pacs.fetch.attempts import Attempt
from sluice.pacs.fetch.learned import TOGETHER, learn, learned
from sluice.pacs.fetch.wanted import Request
from sluice.pacs.outcomes import Moved

MOST_STUDIES = 10
MOST_INSTANCES = 100  # of all of them: a request ends within seconds, and others get their turn


class Together:
    """What is asked for together on one pass to one source.

    Args:
        pacs: name of the source.
    """

    def __init__(self, database: Database, pacs: str) -> None:
        self._database = database
        self._pacs = pacs
        self._works = learned(database, pacs, TOGETHER)
        self._is_proven = self._works is True  # else a request for one study has to go well on this pass first
        self._alone: set[str] = set()  # studies that a list left open
        self._suspect: dict[str, bool | None] = {}  # those of the last such list, and whether they went well alone

    def first_of(self, requests: Sequence[Request]) -> Sequence[Request]:
        """The first of the requests, and those after it that are asked for together with it."""
        count, instances = 0, 0
        if self._is_proven and self._works is not False:
            for request in requests[:MOST_STUDIES]:
                instances += len(request.wanted)
                if request.level != "STUDY" or request.study in self._alone or instances > MOST_INSTANCES:
                    break
                count += 1
        return requests[: max(count, 1)]

    def shares(
        self, requests: Sequence[Request], moved: Moved, arrived: Callable[[Sequence[str]], set[str]]
    ) -> list[Moved | None]:
        """What an answer says of each of the requests; None of those that are to be asked for alone.

        Args:
            arrived: those of some SOP Instance UIDs that have a receipt.
        """
        count = len(requests)
        if moved.interrupted:
            return [Moved(status=moved.status, interrupted=True, studies=count) for _ in requests]
        wanted = [uid for request in requests for uid in request.wanted]
        # Some PACS answer before all has come. What one study has more than was expected counts for no other one, so
        # the count alone says nothing of a study that has not come.
        reported = min(moved.completed + moved.warnings, len(wanted))
        here = wait_for(arrived, wanted, reported) if reported else arrived(wanted)
        if moved.error is None and moved.status == "0000" and not moved.failed and len(here) == len(wanted):
            self._learn(True)
            return [Moved(status="0000", completed=len(request.wanted), studies=count) for request in requests]
        open_ones = [request.study for request in requests if not here.issuperset(request.wanted)]
        self._alone.update(open_ones)
        if moved.error is not None or (moved.status or "").startswith("A7"):
            self._works = False  # for this pass: it may have been the moment rather than the list
        elif sum(not here.isdisjoint(request.wanted) for request in requests) < 2:  # else it took the list
            self._suspect = dict.fromkeys(open_ones)
        share = Moved(status=moved.status, error=moved.error, studies=count)
        return [
            None if request.study in self._alone else replace(share, completed=len(request.wanted))
            for request in requests
        ]

    def note(self, attempt: Attempt) -> None:
        """One study was asked for by itself: where all of a list go well so, it was the list."""
        went_well = attempt.moved.status == "0000" and not attempt.missing
        study = attempt.request.study
        self._is_proven = self._is_proven or went_well
        if study in self._suspect:
            self._suspect[study] = went_well and self._suspect[study] is not False
            if all(self._suspect.values()):
                self._learn(False)
                self._suspect = {}

    def _learn(self, works: bool) -> None:
        if self._works is not works:
            self._works = works
            learn(self._database, self._pacs, TOGETHER, works)
