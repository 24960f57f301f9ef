"""One received file becomes its header with typed columns, or the reason why it cannot."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sluice.anatomy import SOURCE_TAGS, AnatomyReading, read_anatomy
from sluice.database import copy_value
from sluice.headers import columns
from sluice.headers.columns import Column, Element, Elements
from sluice.headers.header import Header
from sluice.headers.kept import Kept
from sluice.headers.lenient import read_leniently, read_leniently_from
from sluice.headers.parser import HeaderParser
from sluice.headers.pixels import pixel_digest
from sluice.headers.source import NATIVE, HeaderError, OddError

IDENTITY_TAGS = frozenset({columns.SOP_CLASS, columns.STUDY_UID, columns.SERIES_UID})
PICTURE_TAGS = frozenset(
    {columns.ROWS, columns.COLUMNS, columns.FRAMES, columns.SAMPLES, columns.PHOTOMETRIC}
    | {columns.BITS_ALLOCATED, columns.BITS_STORED}
)


@dataclass(frozen=True)
class Received:
    """A receipt whose header is still to be read; `path` is relative to the archive root."""

    receipt_id: int
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class SeriesRows:
    """What is the same for a series: its study's columns, its own, and the body region its words name."""

    study: dict[str, Any]
    series: dict[str, Any]
    anatomy: AnatomyReading


@dataclass(frozen=True)
class Reading:
    """A header that was read.

    Attributes:
        cells: its typed columns in the order of `HeaderReader.names`, as COPY writes them.
        elements: elements that typed columns are made of.
    """

    received: Received
    header: Header
    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    cells: list[str]
    elements: Elements
    pixel_digest: bytes | None


@dataclass(frozen=True)
class Refused:
    """A file whose header cannot be read, with the ledger's reason."""

    received: Received
    reason_code: str
    detail: str


@lru_cache(maxsize=1)
def _parser() -> HeaderParser:
    return HeaderParser()


def read_header(path: Path, series: str = "") -> Header:
    """The header of a file, by our own parser, or by pydicom where the file is odd.

    Args:
        series: files that are given the same are expected to be alike, which makes reading them faster.

    Raises:
        HeaderError: it cannot be read.
        OSError: the file cannot be opened.
    """
    try:
        return _parser().read(path, series)
    except OddError:
        return read_leniently(path)


def read_kept(kept: Kept) -> Header:
    """The header again from what is kept of its file; see `read_header`."""
    try:
        return HeaderParser().read_from(kept)
    except OddError:
        return read_leniently_from(kept)


@dataclass(frozen=True)
class _Picture:
    """Rows, columns and bits stored as the header says, and how many bytes of native pixels that promises."""

    rows: int | None
    columns: int | None
    bits_stored: int | None
    promised_bytes: int


@dataclass(frozen=True)
class _Derived:
    """What a reader makes of the elements that files have in common."""

    reader: HeaderReader
    elements: dict[int, Element]
    cells: list[str]
    picture: _Picture


class HeaderReader:
    """Reads files with their typed columns; what files have in common is converted once.

    Args:
        typed: columns of `instance` beside UIDs and transfer syntax.
    """

    def __init__(self, typed: Mapping[str, Column]) -> None:
        self.names = tuple(typed)
        self._reads = [column.read for column in typed.values()]
        self._wanted = IDENTITY_TAGS | PICTURE_TAGS | columns.SERIES_TAGS | SOURCE_TAGS
        self._wanted |= frozenset().union(*(column.tags for column in typed.values()))
        self._touched = {
            tag: frozenset(place for place, column in enumerate(typed.values()) if tag in column.tags)
            for tag in self._wanted
        }

    def read(self, archive: Path, received: Received) -> Reading:
        """One file.

        Raises:
            HeaderError: it cannot be read.
            OSError: it cannot be opened.
        """
        header = read_header(archive / received.path, received.series_instance_uid)
        elements, cells, picture = self._typed(header)
        digest, length = None, header.pixel_bytes
        if length is not None:
            if length < picture.promised_bytes and header.transfer_syntax_uid in NATIVE:
                raise HeaderError("truncated", f"pixel data holds {length} of {picture.promised_bytes} bytes")
            digest = pixel_digest(header.pixel_pieces, length, picture.rows, picture.columns, picture.bits_stored)
        return Reading(
            received,
            header,
            columns.text(elements, columns.STUDY_UID) or received.study_instance_uid,
            columns.text(elements, columns.SERIES_UID) or received.series_instance_uid,
            columns.text(elements, columns.SOP_CLASS) or received.sop_class_uid,
            cells,
            elements,
            digest,
        )

    def _typed(self, header: Header) -> tuple[dict[int, Element], list[str], _Picture]:
        derived = header.first.derived
        if not isinstance(derived, _Derived) or derived.reader is not self:
            derived = header.first.derived = self._derive(header)
        first, wanted = header.first, self._wanted
        changed = {
            tag: _element(text)
            for place, text in header.changes.items()
            if (tag := first.tags[place]) in wanted and first.place[tag] == place
        }
        changed.update((tag, _element(text)) for tag, text in header.tail.items() if tag in wanted)
        if not changed:
            return derived.elements, derived.cells, derived.picture
        elements, cells = derived.elements | changed, derived.cells.copy()
        for place in set().union(*(self._touched[tag] for tag in changed)):
            cells[place] = copy_value(self._reads[place](elements))
        return elements, cells, derived.picture if changed.keys().isdisjoint(PICTURE_TAGS) else _picture(elements)

    def _derive(self, header: Header) -> _Derived:
        first = header.first
        elements = {tag: _element(first.texts[place]) for tag, place in first.place.items() if tag in self._wanted}
        return _Derived(self, elements, [copy_value(read(elements)) for read in self._reads], _picture(elements))


def series_rows(reading: Reading) -> SeriesRows:
    """What a file says about its study and series."""
    study_uid, series_uid, elements = reading.study_instance_uid, reading.series_instance_uid, reading.elements
    return SeriesRows(
        {"study_instance_uid": study_uid, **columns.study_row(elements)},
        {"series_instance_uid": series_uid, "study_instance_uid": study_uid, **columns.series_row(elements)},
        read_anatomy(elements),
    )


def _remembering(read: Callable[[str], Element]) -> Callable[[str], Element]:
    remembered = lru_cache(maxsize=8192)(read)

    def element(text: str) -> Element:
        return remembered(text) if len(text) <= 256 else read(text)

    return element


@_remembering
def _element(text: str) -> Element:
    found: Element = json.loads(text[11:])  # after `"GGGGEEEE":`
    return found


def _picture(elements: Elements) -> _Picture:
    """What the header says of its pixels: rows, columns, frames, samples and bits promise bytes (PS3.5 8.1.1)."""
    rows, width = columns.integer(elements, columns.ROWS), columns.integer(elements, columns.COLUMNS)
    stored = columns.integer(elements, columns.BITS_STORED)
    bits = columns.integer(elements, columns.BITS_ALLOCATED)
    if not rows or not width or not bits:
        return _Picture(rows, width, stored, 0)
    samples = columns.integer(elements, columns.SAMPLES) or 1
    if samples == 3 and columns.text(elements, columns.PHOTOMETRIC) in ("YBR_FULL_422", "YBR_PARTIAL_422"):
        samples = 2
    frames = max(columns.integer(elements, columns.FRAMES) or 1, 1)
    return _Picture(rows, width, stored, (rows * width * samples * frames * bits + 7) // 8)
