"""One received file becomes the rows of its header, or the reason why it cannot."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sluice.anatomy import EVIDENCE_TAGS, NOTHING_TAUGHT, Evidence, Mappings
from sluice.headers import columns
from sluice.headers.lenient import read_leniently
from sluice.headers.parser import Header, HeaderParser
from sluice.headers.source import NATIVE, HeaderError, OddError

WANTED = columns.NEEDED | EVIDENCE_TAGS


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
    """What is the same for a series: its study's columns, its own, and those of anatomy, with what they follow from."""

    study: dict[str, Any]
    series: dict[str, Any]
    evidence: Evidence
    anatomy: dict[str, Any]


@dataclass(frozen=True)
class Indexed:
    """A header that was read. `header` is DICOM JSON text."""

    received: Received
    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    instance: dict[str, Any]
    header: str
    lenient: bool


@dataclass(frozen=True)
class Refused:
    """A file whose header cannot be read, with the ledger's reason."""

    received: Received
    reason_code: str
    detail: str


@dataclass(frozen=True)
class Readings:
    """What a list of files gave."""

    indexed: list[Indexed]
    refused: list[Refused]
    series: dict[str, SeriesRows]


@lru_cache(maxsize=1)
def _parser() -> HeaderParser:
    return HeaderParser(WANTED)


def read_header(path: Path) -> Header:
    """The header of a file, by our own parser, or by pydicom where the file is odd.

    Raises:
        HeaderError: it cannot be read.
        OSError: the file cannot be opened.
    """
    try:
        return _parser().read(path)
    except OddError:
        return read_leniently(path, WANTED)


def read_files(
    archive: Path, zone_name: str, files: Iterable[Received], mappings: Mappings = NOTHING_TAUGHT
) -> Readings:
    """Read headers; a file that cannot be read becomes `Refused` and the rest goes on.

    Args:
        mappings: words that people taught.
    """
    indexed: list[Indexed] = []
    refused: list[Refused] = []
    series: dict[str, SeriesRows] = {}
    derived: dict[Evidence, dict[str, Any]] = {}  # series of one protocol say the same
    for received in files:
        try:
            header = read_header(archive / received.path)
            elements = {tag: _element(text) for tag, text in header.wanted.items()}
            _check_pixel_bytes(header, elements)
        except HeaderError as error:
            refused.append(Refused(received, error.reason_code, str(error)))
            continue
        except OSError as error:
            refused.append(Refused(received, "unreadable", f"the file cannot be opened ({error.strerror})"))
            continue
        study_uid = columns.text(elements, columns.STUDY_UID) or received.study_instance_uid
        series_uid = columns.text(elements, columns.SERIES_UID) or received.series_instance_uid
        if series_uid not in series:
            evidence = Evidence.of(elements)
            if evidence not in derived:
                derived[evidence] = evidence.derived(mappings)
            series[series_uid] = SeriesRows(
                {"study_instance_uid": study_uid, **columns.study_row(elements)},
                {"series_instance_uid": series_uid, "study_instance_uid": study_uid, **columns.series_row(elements)},
                evidence,
                derived[evidence],
            )
        indexed.append(
            Indexed(
                received,
                study_uid,
                series_uid,
                columns.text(elements, columns.SOP_CLASS) or received.sop_class_uid,
                header.transfer_syntax_uid,
                columns.instance_row(elements, columns.zone_of(zone_name)),
                header.json,
                header.lenient,
            )
        )
    return Readings(indexed, refused, series)


def _remembering(read: Callable[[str], columns.Element]) -> Callable[[str], columns.Element]:
    remembered = lru_cache(maxsize=8192)(read)

    def element(text: str) -> columns.Element:
        return remembered(text) if len(text) <= 256 else read(text)

    return element


@_remembering
def _element(text: str) -> columns.Element:
    found: columns.Element = json.loads(text[11:])  # after `"GGGGEEEE":`
    return found


def _check_pixel_bytes(header: Header, elements: columns.Elements) -> None:
    """Native pixel data must hold what rows, columns, frames, samples and bits promise (PS3.5 8.1.1)."""
    if header.pixel_bytes is None or header.transfer_syntax_uid not in NATIVE:
        return
    rows, width = columns.integer(elements, columns.ROWS), columns.integer(elements, columns.COLUMNS)
    bits = columns.integer(elements, columns.BITS_ALLOCATED)
    if not rows or not width or not bits:
        return
    samples = columns.integer(elements, columns.SAMPLES) or 1
    if samples == 3 and columns.text(elements, columns.PHOTOMETRIC) in ("YBR_FULL_422", "YBR_PARTIAL_422"):
        samples = 2
    frames = max(columns.integer(elements, columns.FRAMES) or 1, 1)
    promised = (rows * width * samples * frames * bits + 7) // 8
    if header.pixel_bytes < promised:
        raise HeaderError("truncated", f"pixel data holds {header.pixel_bytes} of {promised} bytes")
