"""What a PACS says that it holds, asked level by level and written to the ledger.

`Inventory` asks one PACS for one window: each query is a row of `sweep_leaf`, each study a row of `found_study`,
each instance a row of `expectation`. `sweep` and `sweep_cohort` differ only in which studies they ask for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import psycopg2.extras
from psycopg2.extensions import connection as Connection  # noqa: N812
from pydicom.dataset import Dataset

from sluice.database import Database, copy_rows
from sluice.pacs.answers import as_json, text
from sluice.pacs.association import FIND, Found, PacsAssociation, associate, identifier_of, status_error
from sluice.pacs.errors import PacsAborted
from sluice.pacs.node import PacsNode
from sluice.pacs.splitting import Asked, Piece
from sluice.windows import Window

if TYPE_CHECKING:
    from sluice.pacs.governor import Governor

STUDY_KEYS = (
    "StudyInstanceUID", "PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyDate", "StudyTime", "StudyID",
    "StudyDescription", "ModalitiesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances",
)  # fmt: skip
SERIES_KEYS = (
    "StudyInstanceUID", "SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription",
    "NumberOfSeriesRelatedInstances",
)  # fmt: skip
IMAGE_KEYS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "InstanceNumber")


@dataclass
class Counts:
    """What an inventory saw.

    Attributes:
        studies, series, instances: different ones, by UID.
        queries: C-FIND requests.
        unusable: answers without a UID or that could not be decoded.
        uncertain: queries that look cut off and could not be split further.
        empty_studies: studies for which the PACS names no instance.
    """

    studies: int = 0
    series: int = 0
    instances: int = 0
    queries: int = 0
    unusable: int = 0
    uncertain: int = 0
    empty_studies: int = 0


@dataclass
class _Leaf:
    level: str
    keys: Mapping[str, str]
    found: Found


@dataclass
class _Contents:
    """Series and instances of one study; each expectation keeps the position of its leaf."""

    leaves: list[_Leaf] = field(default_factory=list)
    expected: dict[str, tuple[str, str | None, str | None, int]] = field(default_factory=dict)
    series: set[str] = field(default_factory=set)


class Inventory:
    """Asks one PACS for one window over one association, opened again where the PACS breaks it off.

    Use as a context manager.
    """

    def __init__(self, database: Database, node: PacsNode, window: Window, governor: Governor | None = None) -> None:
        self.database = database
        self.governor = governor
        self.node = node
        self.window = window
        self.counts = Counts()
        self._stack = ExitStack()
        self._association: PacsAssociation | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        self._connect()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._connection is not None:
            self._connection.close()
        self._stack.__exit__(*error)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """A transaction over one connection for the whole inventory; a sweep writes after every query."""
        if self._connection is None or self._connection.closed:
            self._connection = self.database.connect()
        with self._connection:
            yield self._connection

    def ask_studies(self, piece: Piece, parent: int | None = None) -> Asked:
        """C-FIND at STUDY level; the leaf is written at once."""
        return self.ask_study_keys(piece.keys(), parent)

    def ask_study_keys(self, keys: Mapping[str, str], parent: int | None = None) -> Asked:
        """C-FIND at STUDY level for any matching keys."""
        found = self._find("STUDY", keys, STUDY_KEYS)
        with self._transaction() as connection:
            (leaf,) = self._write_leaves(connection, [_Leaf("STUDY", keys, found)], parent)
        answers: dict[str, Dataset] = {}
        for answer in found.answers:
            uid = text(answer, "StudyInstanceUID")
            if uid:
                answers.setdefault(uid, answer)
            else:
                self.counts.unusable += 1
        return Asked(answers, len(found.answers) + found.unreadable, found.status, leaf)

    def mark_split(self, leaf: int | None) -> None:
        """Say in the ledger that a leaf was cut off and its pieces were asked."""
        with self._transaction() as connection, connection.cursor() as cursor:
            cursor.execute("update sweep_leaf set was_split = true where leaf_id = %s", (leaf,))

    def expect(self, studies: Mapping[str, Dataset], leaf: int | None = None) -> None:
        """Ask SERIES and IMAGE level of each study and write what is expected, one transaction a study."""
        for uid, answer in studies.items():
            contents = self._contents(uid)
            with self._transaction() as connection:
                leaves = self._write_leaves(connection, contents.leaves, leaf)
                self._write_study(connection, uid, answer, leaf)
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
                        (self.window.key, sop, series, uid, sop_class, modality, self.node.name, leaves[position])
                        for sop, (series, sop_class, modality, position) in contents.expected.items()
                    ),
                )
            self.counts.studies += 1
            self.counts.series += len(contents.series)
            self.counts.instances += len(contents.expected)
            self.counts.empty_studies += not contents.expected

    def _contents(self, study: str) -> _Contents:
        contents = _Contents()
        keys = {"StudyInstanceUID": study}
        found = self._level(contents, "SERIES", keys, SERIES_KEYS)
        hinted = 0
        for answer in found.answers:
            series = text(answer, "SeriesInstanceUID")
            if not series:
                self.counts.unusable += 1
            elif series not in contents.series:  # some PACS answer a series once a scanner station
                contents.series.add(series)
                hint = _number(text(answer, "NumberOfSeriesRelatedInstances"))
                hinted += self._images(contents, study, series, text(answer, "Modality") or None, hint)
        self.counts.uncertain += hinted
        return contents

    def _images(self, contents: _Contents, study: str, series: str, modality: str | None, hint: int) -> int:
        keys = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
        found = self._level(contents, "IMAGE", keys, IMAGE_KEYS)
        position = len(contents.leaves) - 1
        for answer in found.answers:
            sop = text(answer, "SOPInstanceUID")
            if not sop:
                self.counts.unusable += 1
                continue
            of_series = text(answer, "SeriesInstanceUID") or series
            contents.expected.setdefault(sop, (of_series, text(answer, "SOPClassUID") or None, modality, position))
        # the number is a hint only: more than it is fine, fewer may have been cut off
        return int(found.status == "0000" and len(found.answers) + found.unreadable < hint)

    def _level(self, contents: _Contents, level: str, keys: Mapping[str, str], wanted: tuple[str, ...]) -> Found:
        found = self._find(level, keys, wanted)
        if found.status != "0000":
            if not found.answers:
                raise status_error(self.node, f"C-FIND at {level} level", found.status)
            self.counts.uncertain += 1
        contents.leaves.append(_Leaf(level, keys, found))
        return found

    def _find(self, level: str, keys: Mapping[str, str], wanted: tuple[str, ...]) -> Found:
        """Ask; once more on a fresh association when the PACS breaks the first one off."""
        self.counts.queries += 1
        if self._association is None or not self._association.is_open:
            self._connect()
        assert self._association is not None
        identifier = identifier_of(level, dict(keys), wanted)
        try:
            found = self._association.find(identifier)
        except PacsAborted:
            self._connect()
            found = self._association.find(identifier)
        self.counts.unusable += found.unreadable
        return found

    def _connect(self) -> None:
        self._stack.close()
        self._association = self._stack.enter_context(associate(self.node, FIND, governor=self.governor))

    def _write_leaves(self, connection: Connection, leaves: Iterable[_Leaf], parent: int | None) -> list[int]:
        rows = [
            (
                parent,
                self.window.key,
                self.node.name,
                leaf.level,
                psycopg2.extras.Json(dict(leaf.keys)),
                len(leaf.found.answers) + leaf.found.unreadable,
                leaf.found.status,
                leaf.found.duration_ms,
            )
            for leaf in leaves
        ]
        if not rows:
            return []
        with connection.cursor() as cursor:
            written = psycopg2.extras.execute_values(
                cursor,
                "insert into sweep_leaf (parent_id, window_key, pacs, level, identifier, answers, status, duration_ms) "
                "values %s returning leaf_id",
                rows,
                fetch=True,
                page_size=len(rows),
            )
        return [int(row[0]) for row in written]

    def _write_study(self, connection: Connection, uid: str, answer: Dataset, leaf: int | None) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "insert into found_study (pacs, study_instance_uid, window_key, leaf_id, answer) "
                "values (%s, %s, %s, %s, %s) on conflict (pacs, study_instance_uid, window_key) do update "
                "set answer = excluded.answer, leaf_id = excluded.leaf_id, last_found_at = now()",
                (self.node.name, uid, self.window.key, leaf, psycopg2.extras.Json(as_json(answer))),
            )


def _number(value: str) -> int:
    return int(value) if value.isdecimal() else 0
