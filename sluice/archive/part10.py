"""What a file says it is: DICOM files (PS3.10 section 7), and those that lack their preamble or their whole header.

Nothing here looks at a file's name. A file that is not taken has a reason code of the ledger.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from sluice.archive.elements import LONG_VRS, SHORT_VRS, Buffer, Unscannable, is_whole, scan
from sluice.archive.identity import NoIdentity, Peeked, peek
from sluice.headers.source import OddError, file_meta
from sluice.pacs.answers import is_uid

HEAD_BYTES = 64 << 10  # file meta information has some hundred bytes
PREFIX_AT = 128
DIRECTORY = "1.2.840.10008.1.3.10"  # Media Storage Directory Storage: a DICOMDIR
MEDIA_STORAGE_SOP_CLASS = 0x00020002
VRS = frozenset((*SHORT_VRS, *LONG_VRS))
PIECE_BYTES = 1 << 20
DEFLATED_MOST = 1 << 36  # inflated bytes; more than that is no image


class NotTaken(Exception):  # noqa: N818
    """A file that is not taken in; the message says why, without a value of its header.

    Attributes:
        reason_code: of the ledger.
        sop_instance: SOP Instance UID, where the file still says which instance it should have been.
    """

    def __init__(self, reason_code: str, message: str, sop_instance: str | None = None) -> None:
        super().__init__(message)
        self.reason_code = reason_code
        self.sop_instance = sop_instance


class Directory(Exception):  # noqa: N818
    """The file is a DICOMDIR: it lists others and is no image."""


@dataclass(frozen=True)
class Encoded:
    """A dataset inside a file.

    Attributes:
        peeked: its UIDs and study date.
        transfer_syntax: of the dataset, as said or found out.
        dataset_at: where it begins.
    """

    peeked: Peeked
    transfer_syntax: str
    dataset_at: int


def may_be_dicom(head: bytes) -> bool:
    """Whether the first kilobyte allows it to be DICOM: a prefix, or an element of group 2 or 8 at the start."""
    if head[PREFIX_AT : PREFIX_AT + 4] == b"DICM" or head[:4] == b"DICM":
        return True
    return head[:2] in (b"\x02\0", b"\x08\0", b"\0\x08") and len(head) > 8


def encoded_in(data: Buffer) -> Encoded:
    """Find the dataset in a file's bytes, check that it is whole, and read its identity.

    Args:
        data: all bytes of the file; a mapped file of any size.

    Raises:
        Directory: it is a DICOMDIR.
        NotTaken: it is no DICOM, ends early, or has no usable UIDs.
    """
    head = bytes(data[:HEAD_BYTES])
    if not head:
        raise NotTaken("not-dicom", "the file is empty")
    if not may_be_dicom(head):
        raise NotTaken("not-dicom", "neither a DICM prefix nor an element where a dataset would begin")
    start = _meta_at(head)
    transfer_syntax, dataset_at = ("", 0) if start is None else _meta(head, start)
    if dataset_at >= len(data):
        raise NotTaken("truncated", "the file ends before its dataset begins")
    return _checked(data, dataset_at, transfer_syntax or _guessed(head, dataset_at), sure=start is not None)


def _meta_at(head: bytes) -> int | None:
    """Where file meta information begins; None where there is none and the dataset begins at once."""
    for at in (PREFIX_AT, 0):
        # four letters within a dataset that has no preamble are no prefix
        if head[at : at + 4] == b"DICM" and head[at + 4 : at + 6] in (b"\x02\0", b"\x08\0"):
            return at + 4
    return 0 if head[:2] == b"\x02\0" else None


def _meta(head: bytes, start: int) -> tuple[str, int]:
    """Transfer syntax (empty where it is not said) and where the dataset begins."""
    if _media_class(head, start) == DIRECTORY:
        raise Directory
    whole = bytes(PREFIX_AT + 4) + head[start:]  # as if the preamble were there
    try:
        transfer_syntax, dataset_at = file_meta(whole)
    except OddError:
        return _odd_meta(head, start)
    return transfer_syntax if is_uid(transfer_syntax) else "", dataset_at - PREFIX_AT - 4 + start


def _media_class(head: bytes, start: int) -> str:
    try:
        values = scan(head, start, False, False, (MEDIA_STORAGE_SOP_CLASS,)).values
    except Unscannable:
        return ""
    return values.get(MEDIA_STORAGE_SOP_CLASS, b"").decode("latin-1").strip(" \0")


def _odd_meta(head: bytes, start: int) -> tuple[str, int]:
    """Meta information that says no transfer syntax, or is itself in implicit VR: walk its elements."""
    position = start
    implicit = head[start + 4 : start + 6] not in VRS
    syntax = b""
    while position + 8 <= len(head) and head[position : position + 2] == b"\x02\0":
        element = int.from_bytes(head[position + 2 : position + 4], "little")
        if implicit:
            value, length = position + 8, int.from_bytes(head[position + 4 : position + 8], "little")
        elif head[position + 4 : position + 6] in LONG_VRS:
            value, length = position + 12, int.from_bytes(head[position + 8 : position + 12], "little")
        else:
            value, length = position + 8, int.from_bytes(head[position + 6 : position + 8], "little")
        if value + length > len(head):
            return "", _behind_group_length(head, start)
        if element == 0x0010:
            syntax = head[value : value + length]
        position = value + length
    text = syntax.decode("latin-1").strip(" \0")
    return text if is_uid(text) else "", position


def _behind_group_length(head: bytes, start: int) -> int:
    """Where the dataset begins by (0002,0000), where the elements of the meta information cannot be walked."""
    if head[start : start + 8] == b"\x02\0\0\0UL\4\0":
        at = start + 12 + int.from_bytes(head[start + 8 : start + 12], "little")
        if head[at : at + 2] in (b"\x08\0", b"\0\x08"):
            return at
        if len(head) < min(at, HEAD_BYTES):
            raise NotTaken("truncated", "the file ends within its meta information")
    raise NotTaken("unreadable", "its meta information is damaged")


def _guessed(head: bytes, at: int) -> str:
    """The transfer syntax where none is said, by the first element of the dataset."""
    if head[at + 4 : at + 6] in VRS:
        return str(ExplicitVRBigEndian) if head[at : at + 1] == b"\0" else str(ExplicitVRLittleEndian)
    return str(ImplicitVRLittleEndian)


def _checked(data: Buffer, at: int, transfer_syntax: str, sure: bool) -> Encoded:
    """Identity and completeness. A file without any header is DICOM only where its UIDs say so (`sure` is False)."""
    identity: Peeked | None = None
    why = ""
    try:
        identity = peek(data, transfer_syntax, at)
    except NoIdentity as error:
        why = str(error)
    if identity is None and not sure:
        raise NotTaken("not-dicom", "the file begins like a dataset without a header, but holds no usable UIDs")
    known = identity.identity.sop_instance if identity else None
    if _is_cut(data, at, transfer_syntax):
        raise NotTaken("truncated", "the file ends inside an element", known)
    if identity is None:
        raise NotTaken("unusable-uids", why)
    return Encoded(identity, transfer_syntax, at)


def _is_cut(data: Buffer, at: int, transfer_syntax: str) -> bool:
    """Whether the dataset ends inside an element. What cannot be walked is left to `extract_headers` to judge."""
    if transfer_syntax == DeflatedExplicitVRLittleEndian:
        return not _inflates(data, at)
    implicit, big_endian = transfer_syntax == ImplicitVRLittleEndian, transfer_syntax == ExplicitVRBigEndian
    try:
        return not is_whole(data, at, implicit, big_endian)
    except Unscannable:
        return False


def _inflates(data: Buffer, at: int) -> bool:
    """Whether the deflate stream comes to its end."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    total = 0
    try:
        for start in range(at, len(data), PIECE_BYTES):
            piece = bytes(data[start : start + PIECE_BYTES])
            while piece and not inflater.eof:
                total += len(inflater.decompress(piece, PIECE_BYTES))
                piece = inflater.unconsumed_tail
                if total > DEFLATED_MOST:
                    raise NotTaken("zip-bomb", "the deflated dataset inflates to more than 64 GiB")
    except zlib.error as error:
        raise NotTaken("truncated", "the deflated dataset is damaged") from error
    return inflater.eof
