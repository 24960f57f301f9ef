"""Where a header's bytes come from: the file by position, its meta information, deflated and encapsulated parts."""

from __future__ import annotations

import os
import struct
import zlib

from sluice.headers.values import BINARY_VRS, WRITERS

LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
KNOWN_VRS = BINARY_VRS | frozenset(WRITERS) | {b"SQ"}
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
INFLATED_LIMIT = 256 << 20  # nobody deflates images; several processes inflate at once
DEFLATED_PIECE, INFLATED_PIECE = 64 << 10, 1 << 20
MOST_DEFLATED = 1032  # the most that deflate makes of one byte
IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
NATIVE = frozenset({IMPLICIT_LITTLE, EXPLICIT_LITTLE, DEFLATED_LITTLE, EXPLICIT_BIG})
short_header = struct.Struct("<HH2sH").unpack_from
implicit_header = struct.Struct("<HHL").unpack_from
length_at = struct.Struct("<L").unpack_from


class HeaderError(RuntimeError):
    """A file whose header cannot be read; `reason_code` is one of the ledger's.

    The message says where and what, never an element's value.
    """

    def __init__(self, reason_code: str, message: str) -> None:
        super().__init__(message)
        self.reason_code = reason_code


class OddError(Exception):
    """Bytes that only pydicom should judge."""


class File:
    """Bytes of an open file by position.

    Attributes:
        is_inflated: of a deflated file, with its data set inflated.
    """

    is_inflated = False

    def __init__(self, size: int, descriptor: int = -1) -> None:
        self.size = size
        self.descriptor = descriptor

    def at(self, position: int, count: int) -> bytes:
        """At most `count` bytes from `position`."""
        return os.pread(self.descriptor, min(count, max(self.size - position, 0)), position)


class Memory(File):
    """The same over bytes in memory."""

    def __init__(self, data: bytes) -> None:
        super().__init__(len(data))
        self.data = data

    def at(self, position: int, count: int) -> bytes:
        """At most `count` bytes from `position`."""
        return self.data[position : position + count]


def file_meta(chunk: bytes) -> tuple[str, int]:
    """Transfer syntax UID and where the data set starts (PS3.10 7.1)."""
    position, syntax = 132, ""
    while position + 8 <= len(chunk):
        group, element, vr, length = short_header(chunk, position)
        if group != 2:
            break
        if vr not in KNOWN_VRS:
            raise OddError
        value = position + 8
        if vr in LONG_VRS:
            if position + 12 > len(chunk):
                raise OddError
            length, value = int(length_at(chunk, position + 8)[0]), position + 12
        if value + length > len(chunk):
            raise OddError
        if element == 0x0010:
            syntax = chunk[value : value + length].decode("latin-1").strip(" \x00")
        position = value + length
    if not syntax:
        raise OddError
    return syntax, position


def inflate(data: bytes) -> bytes:
    """The data set of a deflated file (PS3.5 A.5), at most `INFLATED_LIMIT` bytes.

    Raises:
        HeaderError: it is damaged, cut short or a bomb.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        if len(data) > INFLATED_LIMIT // MOST_DEFLATED:
            _check_inflated(data)
        inflated = inflater.decompress(data)
    except zlib.error:
        raise HeaderError("unreadable", "the deflated data set is damaged") from None
    if not inflater.eof:
        raise HeaderError("truncated", "the deflated data set ends early")
    return inflated


def _check_inflated(data: bytes) -> None:
    """Inflate once without keeping it: a bomb is not to be in memory at all."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    total = 0
    for at in range(0, len(data), DEFLATED_PIECE):
        rest = data[at : at + DEFLATED_PIECE]
        while rest:
            total += len(inflater.decompress(rest, INFLATED_PIECE))
            rest = inflater.unconsumed_tail
            if total > INFLATED_LIMIT:
                raise HeaderError("unreadable", f"the deflated data set is longer than {INFLATED_LIMIT >> 20} MiB")


def skip_fragments(file: File, position: int, tag: int) -> tuple[int, int]:
    """Walk the fragments of an encapsulated value; return where it ends and its length without the end (PS3.5 A.4)."""
    start, data, base = position, b"", position
    while True:
        here = position - base
        if here + 8 > len(data):
            base, data, here = position, file.at(position, 4096), 0
            if len(data) < 8:
                raise HeaderError("truncated", ends_in(tag, file.size))
        group, element, length = implicit_header(data, here)
        found = group << 16 | element
        position += 8
        if found == SEQUENCE_END:
            return position, position - 8 - start
        if found != ITEM or length == UNDEFINED:
            raise OddError
        position += length
        if position > file.size:
            raise HeaderError("truncated", ends_in(tag, file.size))


def check_padding(rest: bytes, position: int) -> None:
    """What follows the last element may be zeros; anything else is the beginning of one that is not there."""
    if rest.strip(b"\x00"):
        raise HeaderError("truncated", f"the file ends inside the element that starts at byte {position}")


def ends_in(tag: int, size: int, length: int | None = None) -> str:
    """Say that a file of `size` bytes ends inside an element."""
    wants = f", which wants {length} bytes" if length is not None else ""
    return f"the file ends at byte {size} inside element ({tag >> 16:04X},{tag & 0xFFFF:04X}){wants}"
