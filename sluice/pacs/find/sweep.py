"""Ask a PACS for everything in a window, with proof of coverage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset

from sluice.database import Database
from sluice.pacs.answers import day_of, text
from sluice.pacs.find.audit import begin_run, finish_run, not_seen, note_gone
from sluice.pacs.find.facts import recall, remember
from sluice.pacs.find.inventory import Inventory
from sluice.pacs.find.pieces import Piece
from sluice.pacs.find.splitting import Splitter
from sluice.pacs.node import PacsNode
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
        contradicted: series with fewer instances than the PACS's own number, though nothing was cut off.
        cap: answers after which this PACS stops, as learned; None while nothing shows one.
        unusable: answers without a UID.
        empty_studies: studies for which the PACS names no instance.
        outside: answers with a study date outside the window, left out.
        unchanged: studies of a window of minutes that were not looked into, because they are listed as before.
        late, changed, gone, moved, returned: studies that an earlier sweep of the window found otherwise.
    """

    window_key: str
    studies: int
    series: int
    instances: int
    queries: int
    split: int
    uncertain: int
    contradicted: int
    cap: int | None
    unusable: int
    empty_studies: int
    outside: int
    unchanged: int
    late: int
    changed: int
    gone: int
    moved: int
    returned: int

    def as_dict(self) -> dict[str, Any]:
        """The summary as XCom carries it."""
        return asdict(self)

    @property
    def found_new(self) -> bool:
        """Whether there is something that an earlier sweep of the window did not find."""
        return self.late + self.changed + self.returned > 0


def sweep(database: Database, node: PacsNode, window: Window, governor: Governor | None = None) -> SweepSummary:
    """C-FIND a window at STUDY level with splitting, then SERIES and IMAGE level of every study (PS3.4 C.4.1).

    Asked again, it adds what is new, keeps the newest answers, and notes what has changed, gone or moved since
    (`sluice.pacs.find.audit`). One that broke off is gone on with. A window of minutes finds only studies with a Study
    Time and concludes nothing of those that it does not see.

    Raises:
        PacsError: the PACS cannot be asked; what was found before stays, and the next sweep goes on.
        GovernorStop: it must not be asked now; the same.
        DatabaseError: Postgres went away; the same.
    """
    remember_window(database, window)
    facts = recall(database, node.name)
    run = begin_run(database, node.name, window)
    outside: set[str] = set()
    with Inventory(database, node, window, run, facts, governor) as inventory:

        def take(studies: Mapping[str, Dataset], leaf: int | None) -> None:
            strangers = {uid for uid, answer in studies.items() if not _is_inside(window, answer)}
            outside.update(strangers)
            inventory.expect({uid: answer for uid, answer in studies.items() if uid not in strangers}, leaf)

        splitter = Splitter(inventory.ask_studies, facts, inventory.error, take, inventory.mark_split)
        try:
            splitter.cover(Piece(window.starts_on, window.ends_on, window.from_s, window.to_s))
            uncertain = splitter.uncertain
            if window.is_whole and not uncertain:
                uncertain += _look_for_the_gone(inventory, window)
        finally:
            remember(database, node.name, facts)
    reader, counts = inventory.reader, inventory.counts
    uncertain += reader.uncertain
    finish_run(database, run, counts.queries, uncertain, reader.contradicted, splitter.assumes)
    studies, series, instances = _totals(database, run.run_id, window)
    return SweepSummary(
        window_key=window.key,
        studies=studies,
        series=series,
        instances=instances,
        queries=counts.queries,
        split=splitter.splits + reader.splits,
        uncertain=uncertain,
        contradicted=reader.contradicted,
        cap=facts.cap,
        unusable=counts.unusable + reader.unusable,
        empty_studies=counts.empty_studies,
        outside=len(outside),
        unchanged=counts.unchanged,
        **inventory.differences.as_dict(),
    )


def _look_for_the_gone(inventory: Inventory, window: Window) -> int:
    """Ask by UID for each study that an earlier sweep found (of this day, of minutes of it, of a cohort with this date)
    and this one did not; return how many it should have."""
    missed = 0
    with inventory.transaction() as connection:
        candidates = not_seen(connection, inventory.run)
    for uid, is_ours in candidates.items():
        asked = inventory.ask_study_keys({"StudyInstanceUID": uid})
        if asked.failed:
            missed += 1
            continue
        answer = asked.answers.get(uid)
        if answer is not None and _is_inside(window, answer):
            # It is there, and the sweep that took itself for complete did not see it.
            missed += 1
            inventory.reader.facts.doubt()
            inventory.expect({uid: answer}, asked.leaf_id)
            continue
        if answer is not None and not is_ours:
            continue  # a cohort's, and under another date by now: it is still there
        with inventory.transaction() as connection:
            moved_to = text(answer, "StudyDate") if answer is not None else None
            inventory.differences.note(note_gone(connection, inventory.run, uid, moved_to))
    return missed


def _is_inside(window: Window, answer: Dataset) -> bool:
    return window.starts_on <= (day_of(text(answer, "StudyDate")) or window.starts_on) <= window.ends_on


def _totals(database: Database, run_id: int, window: Window) -> tuple[int, int, int]:
    """Studies, series and instances that a run saw, what it had written before it broke off among them."""
    (row,) = database.rows("sweep_totals", {"run_id": run_id, "window_key": window.key})
    return row["studies"], row["series"], row["instances"]
