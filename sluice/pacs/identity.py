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

from sluice.pacs.answers import day_of, is_uid, text
from sluice.pacs.archive import Identity

SOP_CLASS, SOP_INSTANCE, STUDY_DATE = 0x00080016, 0x00080018, 0x00080020
STUDY, SERIES = 0x0020000D, 0x0020000E
MOST_HEADER_BYTES = 64 << 20  # of a deflated dataset; more before the series UID is an attack


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


def peek(dataset: bytes, transfer_syntax: str) -> Peeked:
    """Read SOP, study and series UIDs and the study date. A dataset that is cut off after them is fine.

    Raises:
        NoIdentity: one is missing or no UID.
    """
    head = _inflated(dataset) if transfer_syntax == DeflatedExplicitVRLittleEndian else dataset
    read = _read(head, transfer_syntax == ImplicitVRLittleEndian, transfer_syntax != ExplicitVRBigEndian)
    uids: list[str] = []
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        value = text(read, keyword)
        if not is_uid(value):
            raise NoIdentity(f"{keyword} is {'no valid UID' if value else 'missing'}.")
        uids.append(value)
    return Peeked(Identity(*uids), day_of(text(read, "StudyDate")))


def _read(data: bytes, implicit: bool, little_endian: bool) -> Dataset:
    wanted = [BaseTag(tag) for tag in (SOP_CLASS, SOP_INSTANCE, STUDY_DATE, STUDY, SERIES)]
    try:
        return read_dataset(
            io.BytesIO(data),
            is_implicit_VR=implicit,
            is_little_endian=little_endian,
            stop_when=lambda tag, vr, length: tag > SERIES,
            specific_tags=wanted,  # type: ignore[arg-type]
        )
    except Exception as error:  # whatever a hostile header does to the parser, it has no identity for us
        raise NoIdentity(f"The dataset cannot be parsed ({type(error).__name__}).") from error


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, MOST_HEADER_BYTES)
    except zlib.error as error:
        raise NoIdentity("The deflated dataset cannot be inflated.") from error
