"""The digest of a file's whole pixels: equal ones are equal pixels."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pydicom

from sluice.headers.header import Header
from sluice.headers.parser import PIXEL_DATA
from sluice.headers.reading import read_header
from sluice.headers.source import ITEM, NATIVE, File, Memory, file_meta, implicit_header, inflate

PIECE = 1 << 20
META_BYTES = 64 << 10


def whole_pixel_digest(path: str | os.PathLike[str]) -> str | None:
    """SHA-256 of the value of Pixel Data (7FE0,0010), hex; None where a file has none.

    Of compressed pixels the bytes of the fragments count, one behind the other, without the item headers around them
    and without the Basic Offset Table (PS3.5 A.4): how a sender cut them makes no difference. Nothing is decoded.

    Raises:
        HeaderError: the file cannot be read.
        OSError: it cannot be opened.
    """
    header = read_header(Path(path))
    if header.pixel_bytes is None:
        return None
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        file, at = _pixels(stream.fileno(), header)
        is_native = header.transfer_syntax_uid in NATIVE
        spans = [(at, header.pixel_bytes)] if is_native else _fragments(file, at, at + header.pixel_bytes)
        for offset, length in spans:
            for position in range(offset, offset + length, PIECE):
                digest.update(file.at(position, min(PIECE, offset + length - position)))
    return digest.hexdigest()


def _pixels(descriptor: int, header: Header) -> tuple[File, int]:
    """Where the pixels stand, and at which position of it."""
    file = File(os.fstat(descriptor).st_size, descriptor)
    if header.lenient:  # only pydicom finds them
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            with open(descriptor, "rb", closefd=False) as stream:
                value = pydicom.dcmread(stream, force=True).get_item(PIXEL_DATA).value
        return Memory(value if isinstance(value, bytes) else b""), 0
    if header.is_inflated:
        head = file.at(0, META_BYTES)
        _, start = file_meta(head)
        return Memory(head[:start] + inflate(file.at(start, file.size))), header.pixel_at
    return file, header.pixel_at


def _fragments(file: File, position: int, end: int) -> Iterator[tuple[int, int]]:
    """Offset and length of each fragment behind the Basic Offset Table."""
    is_table = True
    while position + 8 <= end:
        group, element, length = implicit_header(file.at(position, 8))
        if group << 16 | element != ITEM:  # no fragments: an odd file whose value is what it is
            yield position, end - position
            return
        if not is_table:
            yield position + 8, min(length, end - position - 8)
        is_table = False
        position += 8 + length
