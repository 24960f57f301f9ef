"""Who an encoded dataset says it is, read from its first elements without decoding the rest."""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from datetime import date

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from sluice.archive.elements import Buffer, Endless, Unscannable, scan
from sluice.archive.files import Identity
from sluice.pacs.answers import day_of, is_uid, text

SOP_CLASS, SOP_INSTANCE, STUDY_DATE = 0x00080016, 0x00080018, 0x00080020
STUDY, SERIES = 0x0020000D, 0x0020000E
WANTED = {
    SOP_CLASS: "SOPClassUID", SOP_INSTANCE: "SOPInstanceUID", STUDY: "StudyInstanceUID", SERIES: "SeriesInstanceUID",
    STUDY_DATE: "StudyDate",
}  # fmt: skip
MOST_HEADER_BYTES = 64 << 20  # of a deflated dataset; more before the series UID is an attack
MOST_ODD_BYTES = 256 << 10  # of a dataset that only pydicom can make sense of; it takes its time
HEAD_BYTES = 16 << 10  # nearly every identity is in there
INFLATE_BYTES = 64 << 10


class NoIdentity(ValueError):  # noqa: N818
    """The dataset has no usable UIDs; the message says which, never their values."""


@dataclass(frozen=True)
class Peeked:
    """What the start of a dataset says.

    Attributes:
        identity: its UIDs, all valid.
        study_date: None when absent or no date.
    """

    identity: Identity
    study_date: date | None


def peek_early(head: bytes, transfer_syntax: str) -> Peeked | None:
    """The same as `peek` from the first bytes of a dataset, while the rest is still on its way.

    None where they are not enough to be sure; `peek` then has the whole dataset, and says what is wrong.
    """
    if transfer_syntax == DeflatedExplicitVRLittleEndian:
        return None
    try:
        scanned = scan(head, 0, *_encoding(transfer_syntax), WANTED)
        return _peeked(_as_text(scanned.values)) if scanned.whole else None
    except (Unscannable, NoIdentity):
        return None


def peek(data: Buffer, transfer_syntax: str, start: int = 0) -> Peeked:
    """Read SOP, study and series UIDs and the study date. A dataset that is cut off after them is fine.

    Args:
        data: holds the encoded dataset from `start` on; a mapped file of gigabytes costs no memory.

    Raises:
        NoIdentity: one is missing or no UID.
    """
    if transfer_syntax == DeflatedExplicitVRLittleEndian:
        return _peeked(_deflated_values(data, start))
    return _peeked(_values(data, start, transfer_syntax))


def _peeked(values: dict[int, str]) -> Peeked:
    uids: list[str] = []
    for tag in (SOP_CLASS, SOP_INSTANCE, STUDY, SERIES):
        value = values.get(tag, "")
        if not is_uid(value):
            raise NoIdentity(f"{WANTED[tag]} is {'no valid UID' if value else 'missing'}.")
        uids.append(value)
    return Peeked(Identity(*uids), day_of(values.get(STUDY_DATE, "")))


def _encoding(transfer_syntax: str) -> tuple[bool, bool]:
    """Whether it is implicit VR, and whether it is big endian."""
    return transfer_syntax == ImplicitVRLittleEndian, transfer_syntax == ExplicitVRBigEndian


def _as_text(values: dict[int, bytes]) -> dict[int, str]:
    return {tag: value.decode("latin-1").strip(" \x00") for tag, value in values.items()}


def _values(data: Buffer, start: int, transfer_syntax: str) -> dict[int, str]:
    """Wanted values as trimmed text."""
    implicit, big_endian = _encoding(transfer_syntax)
    try:
        return _as_text(scan(data, start, implicit, big_endian, WANTED).values)
    except Endless as error:
        raise NoIdentity("There is no SeriesInstanceUID within reach.") from error
    except Unscannable:
        return _by_pydicom(bytes(data[start : start + MOST_ODD_BYTES]), implicit, not big_endian)


def _by_pydicom(data: bytes, implicit: bool, little_endian: bool) -> dict[int, str]:
    """The same from pydicom, which guesses well where a dataset is not encoded as it claims."""
    behind = False

    def is_behind(tag: int, vr: str | None, length: int) -> bool:
        nonlocal behind
        behind = behind or tag > SERIES
        return behind

    try:
        read: Dataset = read_dataset(
            io.BytesIO(data),
            is_implicit_VR=implicit,
            is_little_endian=little_endian,
            stop_when=is_behind,
            specific_tags=[BaseTag(tag) for tag in WANTED],
        )
    except Exception as error:  # whatever a hostile header does to the parser, it has no identity for us
        raise NoIdentity(f"The dataset cannot be parsed ({type(error).__name__}).") from error
    if not behind:  # pydicom takes a value that is cut off for a shorter one
        raise NoIdentity("The dataset ends before its SeriesInstanceUID does.")
    return {tag: text(read, keyword) for tag, keyword in WANTED.items()}


def _deflated_values(data: Buffer, start: int) -> dict[int, str]:
    """Inflates no more than it has to: most headers fit in the first try."""
    for limit in (INFLATE_BYTES, 16 * INFLATE_BYTES, MOST_HEADER_BYTES):
        head, ended = _inflated(data, start, limit)
        try:
            scanned = scan(head, 0, False, False, WANTED)
            if scanned.whole or ended:
                break
        except Unscannable:
            break
    return _values(head, 0, "")


def _inflated(data: Buffer, start: int, limit: int) -> tuple[bytes, bool]:
    """The first `limit` inflated bytes, and whether that is all there is."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = bytearray()
    position = start
    try:
        while len(inflated) < limit and position < len(data) and not inflater.eof:
            piece = bytes(data[position : position + INFLATE_BYTES])
            inflated += inflater.decompress(inflater.unconsumed_tail + piece, limit - len(inflated))
            position += len(piece)
    except zlib.error as error:
        raise NoIdentity("The deflated dataset cannot be inflated.") from error
    return bytes(inflated), len(inflated) < limit
