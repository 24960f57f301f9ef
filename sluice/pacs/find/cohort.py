"""Find the studies of a request: rows of a researcher's list, each with an answer, or a filter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset

from sluice.database import Database
from sluice.pacs.answers import day_of, is_uid, text
from sluice.pacs.errors import PacsStatusError
from sluice.pacs.find.audit import begin_run, finish_run
from sluice.pacs.find.density import Density
from sluice.pacs.find.facts import recall, remember
from sluice.pacs.find.inventory import Inventory
from sluice.pacs.find.pieces import Piece
from sluice.pacs.find.splitting import Asked, Facts, Splitter
from sluice.pacs.node import PacsNode
from sluice.windows import Window, remember_window

if TYPE_CHECKING:
    from sluice.pacs.governor import Governor


@dataclass(frozen=True, slots=True)
class CohortRow:
    """One wanted row: an accession number, a patient id with dates, or a study UID.

    Attributes:
        number: line in the uploaded list, the header is line 1.
        starts_on, ends_on: study dates, both inclusive; None for any.
    """

    number: int
    accession: str | None = None
    patient_id: str | None = None
    study_uid: str | None = None
    starts_on: date | None = None
    ends_on: date | None = None

    def keys(self) -> dict[str, str]:
        """Matching keys at STUDY level; every value that is given must match."""
        keys = {
            "StudyInstanceUID": self.study_uid,
            "AccessionNumber": self.accession,
            "PatientID": self.patient_id,
            "StudyDate": _date_key(self.starts_on, self.ends_on),
        }
        return {keyword: value for keyword, value in keys.items() if value}


@dataclass(frozen=True)
class CohortFilter:
    """Wanted by properties instead of a list; an empty property takes everything.

    Attributes:
        modalities: any of these in the study.
        words: any of these in the study description, case ignored.
    """

    modalities: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowAnswer:
    """What the PACS said of one row.

    Attributes:
        row_number: `CohortRow.number`.
        outcome: `found`, `several`, `not-found` or `refused`.
        reason: why not, or what else to know, without an identifier; may be empty.
        study_uids: what was taken for it.
    """

    row_number: int
    outcome: str
    reason: str = ""
    study_uids: tuple[str, ...] = ()


@dataclass(frozen=True)
class CohortSweepSummary:
    """What a cohort sweep found.

    Attributes:
        rows: asked, by outcome in `outcomes`; none for a filter.
        studies, series, instances: expected in the window now.
    """

    window_key: str
    rows: int
    studies: int
    series: int
    instances: int
    queries: int
    uncertain: int
    outcomes: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Counts as XCom carries them."""
        return asdict(self)


def sweep_cohort(
    database: Database,
    node: PacsNode,
    window: Window,
    wanted: Iterable[CohortRow] | CohortFilter,
    governor: Governor | None = None,
    answered: Callable[[RowAnswer], None] = lambda answer: None,
) -> CohortSweepSummary:
    """C-FIND what is wanted and write it as the window's expectation, as `sweep` does for a day.

    A row with several studies takes them all and says so: an accession number may rightly stand for several. An answer
    that does not carry the value asked for (a PACS that matches loosely or ignores the key) is not taken.

    Args:
        wanted: rows are taken one by one, so they may be more than fit into memory.
        answered: is told of each row once its studies are expected.

    Raises:
        PacsError: the PACS cannot be asked; what was found before stays.
        GovernorStop: it must not be asked now; the same holds.
    """
    remember_window(database, window)
    facts = recall(database, node.name)
    run = begin_run(database, node.name, window)
    outcomes: Counter[str] = Counter()
    uncertain, assumes = 0, set[str]()
    with Inventory(database, node, window, run, facts, governor) as inventory:
        try:
            if isinstance(wanted, CohortFilter):
                uncertain, assumes = _cover_filter(window, inventory, wanted, facts)
            else:
                for row in wanted:
                    answer, of_row, leaf = _answer(inventory, row)
                    inventory.expect(of_row, leaf)
                    outcomes[answer.outcome] += 1
                    answered(answer)
        finally:
            remember(database, node.name, facts)
    reader, counts = inventory.reader, inventory.counts
    uncertain += reader.uncertain
    finish_run(database, run, counts.queries, uncertain, reader.contradicted, assumes)
    (totals,) = database.rows("sweep_totals", {"run_id": run.run_id, "window_key": window.key})
    return CohortSweepSummary(
        window_key=window.key,
        rows=outcomes.total(),
        studies=totals["studies"],
        series=totals["series"],
        instances=totals["instances"],
        queries=counts.queries,
        uncertain=uncertain,
        outcomes=dict(sorted(outcomes.items())),
    )


def _answer(inventory: Inventory, row: CohortRow) -> tuple[RowAnswer, Mapping[str, Dataset], int | None]:
    """One row asked; identifiers stay out of the reason."""
    problem = problem_with(row)
    if problem:
        return RowAnswer(row.number, "refused", problem), {}, None
    try:
        asked = inventory.ask_study_keys(row.keys())
        if asked.failed:
            raise inventory.error(asked.status)
    except PacsStatusError as error:
        if error.permanent:
            raise
        return RowAnswer(row.number, "refused", str(error)), {}, None
    studies = {uid: answer for uid, answer in asked.answers.items() if _belongs(row, answer)}
    return RowAnswer(row.number, *_outcome(asked, studies), tuple(studies)), studies, asked.leaf_id


def _outcome(asked: Asked, studies: Mapping[str, Dataset]) -> tuple[str, str]:
    cut = "" if asked.status == "0000" else f" The PACS cut its answer off (status {asked.status}): narrow the dates."
    if not studies:
        others = " It answered with studies that do not carry the value asked for." if asked.answers else ""
        return "not-found", f"The PACS knows no such study.{others}{cut}"
    if len(studies) > 1:
        return "several", cut.strip()
    return "found", cut.strip()


def problem_with(row: CohortRow) -> str | None:
    """Why a row cannot be asked of a PACS; None where it can. Holds no identifier."""
    values = [value for value in (row.accession, row.patient_id, row.study_uid) if value]
    if not values:
        return "The row has no accession number, patient id or study UID."
    if any(set(value) & set("*?\\") for value in values):
        return "Wildcards (* ? \\) are not taken: they could match other patients."
    if row.study_uid and not is_uid(row.study_uid):
        return "The study UID is no UID: digits and dots, at most 64 characters."
    if any(len(value) > 64 for value in values) or len(row.accession or "") > 16:
        return "The value is longer than DICOM allows (16 characters for an accession number, 64 for a patient id)."
    if row.starts_on and row.ends_on and row.starts_on > row.ends_on:
        return "The dates are in the wrong order."
    return None


def _belongs(row: CohortRow, answer: Dataset) -> bool:
    """Whether an answer carries what was asked for, as far as it returns it."""
    for keyword, value in (("AccessionNumber", row.accession), ("PatientID", row.patient_id)):
        held = text(answer, keyword)
        if value and held and held != value.strip():
            return False
    day = day_of(text(answer, "StudyDate"))
    if day and row.starts_on and day < row.starts_on:
        return False
    return not (day and row.ends_on and day > row.ends_on)


def _cover_filter(window: Window, inventory: Inventory, wanted: CohortFilter, facts: Facts) -> tuple[int, set[str]]:
    """Expect the studies of the window's dates by modality that are described by one of the words, leaf by leaf;
    return how many queries stay uncertain, and what the rest assumes."""
    words = [word.casefold() for word in wanted.words]
    uncertain, assumes = 0, set[str]()

    def take(studies: Mapping[str, Dataset], leaf: int | None) -> None:
        inventory.expect(
            {uid: answer for uid, answer in studies.items() if _is_wanted(window, words, answer)},
            leaf,
        )

    for modality in wanted.modalities or (None,):
        # a modality alone is far from what the PACS holds, so its density is learned here and forgotten again
        density = Density() if modality else None
        splitter = Splitter(inventory.ask_studies, facts, inventory.error, take, inventory.mark_split, density)
        splitter.cover(Piece(window.starts_on, window.ends_on, modality=modality))
        uncertain += splitter.uncertain
        assumes |= splitter.assumes
    return uncertain, assumes


def _is_wanted(window: Window, words: Sequence[str], answer: Dataset) -> bool:
    day = day_of(text(answer, "StudyDate"))
    if day is not None and not window.starts_on <= day <= window.ends_on:
        return False
    described = text(answer, "StudyDescription").casefold()
    return not words or any(word in described for word in words)


def _date_key(starts_on: date | None, ends_on: date | None) -> str:
    if starts_on and starts_on == ends_on:
        return f"{starts_on:%Y%m%d}"
    if not starts_on and not ends_on:
        return ""
    return f"{starts_on:%Y%m%d}-" * bool(starts_on) + "-" * (not starts_on) + (f"{ends_on:%Y%m%d}" if ends_on else "")
