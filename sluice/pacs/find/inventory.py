"""What a PACS says that it holds, asked level by level and written to the ledger.

`Inventory` asks one PACS for one window: each query is a row of `sweep_leaf`, each study a row of `found_study`,
each instance a row of `expectation`. `sweep` and `sweep_cohort` differ only in which studies they ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import psycopg2.extras
from psycopg2.extensions import connection as Connection  # noqa: N812
from pydicom.dataset import Dataset

from sluice.database import Database, copy_rows, transaction_of
from sluice.pacs.answers import as_json, text
from sluice.pacs.association import FIND, associate, identifier_of, status_error
from sluice.pacs.errors import PacsAborted, PacsError, PacsTimedOut
from sluice.pacs.find.audit import Differences, Run, compare, done_in, unchanged, write_study
from sluice.pacs.find.contents import STUDIES_A_QUERY, Contents, ContentsReader, Keys, Leaf, number_of
from sluice.pacs.find.pieces import Piece
from sluice.pacs.find.splitting import SMALLEST_CAP, Asked, Facts
from sluice.pacs.node import PacsNode
from sluice.pacs.outcomes import Found
from sluice.windows import Window

if TYPE_CHECKING:
    from sluice.pacs.governor import Governor

STUDY_KEYS = (
    "StudyInstanceUID", "PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyDate", "StudyTime", "StudyID",
    "StudyDescription", "ModalitiesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances",
)  # fmt: skip


class Finder(Protocol):
    """What can be asked: a DICOM association, or a DICOMweb service that answers as one."""

    @property
    def is_open(self) -> bool:
        """Whether more can be asked."""

    def find(self, identifier: Dataset) -> Found:
        """One query; `PacsAborted` and `PacsTimedOut` where it broke off, with what came before as `partial`."""


@dataclass
class Counts:
    """What an inventory saw.

    Attributes:
        studies, series, instances: written now; what this sweep had written before it broke off is left out.
        queries: questions to the PACS.
        unusable: answers without a UID or that could not be decoded.
        empty_studies: studies for which the PACS names no instance.
        unchanged: studies that were not looked into because nothing about them has changed.
    """

    studies: int = 0
    series: int = 0
    instances: int = 0
    queries: int = 0
    unusable: int = 0
    empty_studies: int = 0
    unchanged: int = 0


class Inventory:
    """Asks one PACS for one window over one association, opened again where the PACS breaks it off.

    Use as a context manager.

    Args:
        run: the sweep that this is.
        facts: what is known about the PACS; it learns on the way.
        governor: what every query has to pass; None for tests.
        opened: opens what is asked; by default what the node's `query_by` says.
    """

    def __init__(
        self,
        database: Database,
        node: PacsNode,
        window: Window,
        run: Run,
        facts: Facts,
        governor: Governor | None = None,
        opened: Callable[[], AbstractContextManager[Finder]] | None = None,
    ) -> None:
        self.database = database
        self.node = node
        self.window = window
        self.run = run
        self.counts = Counts()
        self.differences = Differences()
        self.reader = ContentsReader(self._ask_level, facts)
        self._facts = facts
        self._opened = opened or (lambda: open_finder(node, governor))
        self._stack = ExitStack()
        self._finder: Finder | None = None
        self._connection: Connection | None = None
        self._broke_off: PacsError | None = None

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._connection is not None:
            self._connection.close()
        self._stack.__exit__(*error)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction over one connection for the whole inventory; a sweep writes after every query."""
        if self._connection is None or self._connection.closed:
            self._connection = self.database.connect()
        with transaction_of(self._connection):
            yield self._connection

    def ask_studies(self, piece: Piece, parent: int | None = None) -> Asked:
        """C-FIND at STUDY level; the leaf is written at once."""
        return self.ask_study_keys(piece.keys(), parent)

    def ask_study_keys(self, keys: Mapping[str, str], parent: int | None = None) -> Asked:
        """C-FIND at STUDY level for any matching keys."""
        leaf = Leaf("STUDY", dict(keys), self._find("STUDY", keys, STUDY_KEYS))
        with self.transaction() as connection:
            self._write_leaves(connection, [leaf], parent)
        answers: dict[str, Dataset] = {}
        for answer in leaf.found.answers:
            uid = text(answer, "StudyInstanceUID")
            if uid:
                answers.setdefault(uid, answer)
            else:
                self.counts.unusable += 1
        return Asked(answers, leaf.count, leaf.found.status, leaf.leaf_id)

    def error(self, status: str) -> Exception:
        """The error for a status with which splitting cannot deal."""
        if self._broke_off is not None and status in ("aborted", "timed-out"):
            return self._broke_off
        return status_error(self.node, "C-FIND", status)

    def mark_split(self, leaf: int | None) -> None:
        """Say in the ledger that a leaf was cut off and its pieces were asked."""
        with self.transaction() as connection, connection.cursor() as cursor:
            cursor.execute("update sweep_leaf set was_split = true where leaf_id = %s", (leaf,))

    def expect(self, studies: Mapping[str, Dataset], leaf: int | None = None) -> None:
        """Ask SERIES and IMAGE level of studies and write what is expected, some studies a transaction.

        What this sweep has written already is left alone, so a study may come in several leaves, and a sweep that broke
        off goes on where it stopped.
        """
        answers = {uid: as_json(answer) for uid, answer in studies.items()}
        with self.transaction() as connection:
            done = done_in(connection, self.run, answers.keys())
            if not self.window.is_whole:  # the day's own sweep looks into them all
                same = unchanged(connection, self.run, {u: a for u, a in answers.items() if u not in done})
                self.counts.unchanged += len(same)
                done |= same
        left = [uid for uid in answers if uid not in done]
        for start in range(0, len(left), STUDIES_A_QUERY):
            part = left[start : start + STUDIES_A_QUERY]
            contents = self.reader.read(
                {uid: number_of(text(studies[uid], "NumberOfStudyRelatedSeries")) for uid in part}
            )
            with self.transaction() as connection:
                self._write_leaves(connection, [one for each in contents.values() for one in each.leaves], leaf)
                for uid, of_study in contents.items():
                    self._write_contents(connection, uid, answers[uid], leaf, of_study)

    def _write_contents(
        self, connection: Connection, uid: str, answer: dict[str, Any], leaf: int | None, contents: Contents
    ) -> None:
        before = write_study(connection, self.run, uid, answer, leaf)
        event = compare(connection, self.run, uid, before, answer, contents.expected.keys(), contents.is_proven)
        if event:
            self.differences.note(event)
        copy_rows(
            connection,
            "expectation",
            (
                "window_key",
                "sop_instance_uid",
                "series_instance_uid",
                "study_instance_uid",
                "sop_class_uid",
                "modality",
                "pacs",
                "leaf_id",
            ),
            (
                (self.window.key, sop, one.series, uid, one.sop_class, one.modality, self.node.name, one.leaf.leaf_id)
                for sop, one in contents.expected.items()
            ),
        )
        self.counts.studies += 1
        self.counts.series += len(contents.series)
        self.counts.instances += len(contents.expected)
        self.counts.empty_studies += not contents.expected

    def _ask_level(self, level: str, keys: Keys, wanted: tuple[str, ...]) -> Found:
        found = self._find(level, keys, wanted)
        if found.status != "0000" and not found.answers:
            if found.status in ("aborted", "timed-out"):
                raise self.error(found.status)
            if not any(isinstance(value, list) for value in keys.values()):
                raise status_error(self.node, f"C-FIND at {level} level", found.status)
        return found

    def _find(self, level: str, keys: Keys, wanted: tuple[str, ...]) -> Found:
        """Ask; once more on a fresh association when the PACS breaks the first one off."""
        identifier = identifier_of(level, dict(keys), wanted)
        for is_last in (False, True):
            try:
                found = self._ask(identifier)
                break
            except PacsAborted as error:
                self._broke_off, found = error, _partial(error, "aborted")
                count = len(found.answers)
                if count >= SMALLEST_CAP and (is_last or count == self._facts.limit):
                    break  # it breaks off there every time, which is a cap
                if is_last:
                    raise
            except PacsTimedOut as error:
                self._broke_off, found = error, _partial(error, "timed-out")
                break
        self.counts.unusable += found.unreadable
        return found

    def _ask(self, identifier: Dataset) -> Found:
        if self._finder is None or not self._finder.is_open:
            self._open()
        assert self._finder is not None
        self.counts.queries += 1
        try:
            return self._finder.find(identifier)
        except (PacsAborted, PacsTimedOut):
            self._finder = None  # it may not know yet that it is over
            raise

    def _open(self) -> None:
        self._stack.close()
        self._finder = self._stack.enter_context(self._opened())

    def _write_leaves(self, connection: Connection, leaves: Iterable[Leaf], parent: int | None) -> None:
        """Write leaves that are not written yet, those that others were split from first."""
        unwritten = list({id(leaf): leaf for leaf in leaves if leaf.leaf_id is None}.values())
        for roots in (True, False):
            rows = [leaf for leaf in unwritten if (leaf.parent is None) == roots]
            if not rows:
                continue
            values = [
                (
                    leaf.parent.leaf_id if leaf.parent is not None else parent,
                    self.run.run_id,
                    self.window.key,
                    self.node.name,
                    leaf.level,
                    psycopg2.extras.Json(dict(leaf.keys)),
                    leaf.count,
                    leaf.found.status,
                    leaf.was_split,
                    leaf.found.duration_ms,
                )
                for leaf in rows
            ]
            with connection.cursor() as cursor:
                written = psycopg2.extras.execute_values(
                    cursor,
                    "insert into sweep_leaf (parent_id, run_id, window_key, pacs, level, identifier, answers, status, "
                    "was_split, duration_ms) values %s returning leaf_id",
                    values,
                    fetch=True,
                    page_size=len(values),
                )
            for leaf, (leaf_id,) in zip(rows, written, strict=True):
                leaf.leaf_id = int(leaf_id)


def open_finder(node: PacsNode, governor: Governor | None) -> AbstractContextManager[Finder]:
    """What a node is asked by: C-FIND over an association, or QIDO-RS."""
    if node.query_by == "QIDO-RS":
        from sluice.pacs.fetch.dicomweb import DicomwebAssociation

        return DicomwebAssociation.open(node, governor)
    return associate(node, FIND, governor=governor)


def _partial(error: PacsError, status: str) -> Found:
    found = error.partial if isinstance(error.partial, Found) else Found()
    found.status = status
    return found
