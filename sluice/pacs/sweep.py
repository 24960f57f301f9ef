"""Ask a PACS for everything in a window, with proof of coverage."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sluice.database import Database
from sluice.pacs.answers import day_of, text
from sluice.pacs.association import status_error
from sluice.pacs.facts import recall, remember
from sluice.pacs.inventory import Inventory
from sluice.pacs.node import PacsNode
from sluice.pacs.splitting import Piece, Splitter
from sluice.windows import Window, remember_window

if TYPE_CHECKING:
    from sluice.pacs.governor import Governor


@dataclass(frozen=True)
class SweepSummary:
    """What a sweep found.

    Attributes:
        window_key: the window.
        studies, series, instances: what the PACS says it holds in the window.
        queries: C-FIND requests that it took.
        split: answers that looked cut off, so that their pieces were asked.
        uncertain: queries that look cut off and cannot be split further; 0 proves coverage.
        cap: answers after which this PACS stops, as learned; None while nothing shows one.
        unusable: answers without a UID.
        empty_studies: studies for which the PACS names no instance.
        outside: answers with a study date outside the window, left out.
    """

    window_key: str
    studies: int
    series: int
    instances: int
    queries: int
    split: int
    uncertain: int
    cap: int | None
    unusable: int
    empty_studies: int
    outside: int

    def as_dict(self) -> dict[str, Any]:
        """The summary as XCom carries it."""
        return asdict(self)


def sweep(database: Database, node: PacsNode, window: Window, governor: Governor | None = None) -> SweepSummary:
    """C-FIND a window at STUDY level with splitting, then SERIES and IMAGE level of every study (PS3.4 C.4.1).

    Asked again, it adds what is new, refreshes `found_study.last_found_at` and changes nothing else.

    Raises:
        PacsError: the PACS cannot be asked; what was found before stays, and the next sweep goes on.
        GovernorStop: it must not be asked now; the same holds.
    """
    remember_window(database, window)
    facts = recall(database, node.name)
    with Inventory(database, node, window, governor) as inventory:
        splitter = Splitter(
            inventory.ask_studies, facts, lambda status: status_error(node, "C-FIND", status), inventory.mark_split
        )
        try:
            studies = splitter.cover(Piece(window.starts_on, window.ends_on))
        finally:
            remember(database, node.name, facts)
        inside = {
            uid: answer
            for uid, answer in studies.items()
            if window.starts_on <= (day_of(text(answer, "StudyDate")) or window.starts_on) <= window.ends_on
        }
        inventory.expect(inside)
    counts = inventory.counts
    return SweepSummary(
        window_key=window.key,
        studies=counts.studies,
        series=counts.series,
        instances=counts.instances,
        queries=counts.queries,
        split=splitter.splits,
        uncertain=counts.uncertain + splitter.uncertain,
        cap=facts.cap,
        unusable=counts.unusable,
        empty_studies=counts.empty_studies,
        outside=len(studies) - len(inside),
    )
