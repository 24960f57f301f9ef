"""A file's whole pixels: equal digests are equal pixels."""

from __future__ import annotations

import hashlib
import io
import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pydicom

from sluice.headers.header import Header
from sluice.headers.parser import PIXEL_DATA
from sluice.headers.reading import read_header
from sluice.headers.source import ITEM, NATIVE, File, Memory, file_meta, implicit_header, inflate

PIECE = 1 << 20
META_BYTES = 64 << 10
BITS_ALLOCATED, SAMPLES_PER_PIXEL = 0x00280100, 0x00280002
PIXEL_MODULE = (
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PhotometricInterpretation", "PlanarConfiguration",
)  # fmt: skip


class WholePixels(NamedTuple):
    """What the whole value of Pixel Data (7FE0,0010) is.

    Attributes:
        digest: SHA-256. Of compressed pixels the bytes of the fragments count, one behind the other, without the item
            headers around them and without the Basic Offset Table (PS3.5 A.4): how a sender cut them makes no
            difference.
        is_blank: all pixels have one value. Empty slices and test frames are alike everywhere and say nothing.
    """

    digest: bytes
    is_blank: bool


def whole_pixels(path: str | os.PathLike[str]) -> WholePixels | None:
    """Read the pixels of a file, once; None where it has none. Only compressed ones are held in memory, and decoded.

    Raises:
        HeaderError: the file cannot be read.
        OSError: it cannot be opened.
    """
    header = read_header(Path(path))
    if header.pixel_bytes is None:
        return None
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        if header.transfer_syntax_uid in NATIVE:
            blank = _Blank(header)
            file, at = _pixels(stream.fileno(), header)
            for piece in _pieces(file, at, header.pixel_bytes, PIECE - PIECE % blank.size):
                digest.update(piece)
                blank.add(piece)
            return WholePixels(digest.digest(), blank.holds())
        content = stream.read()
    file, at = _pixels_of(content, header)
    for offset, length in _fragments(file, at, at + header.pixel_bytes):
        for piece in _pieces(file, offset, length, PIECE):
            digest.update(piece)
    return WholePixels(digest.digest(), _decodes_to_one_value(content))


def _pieces(file: File, offset: int, length: int, most: int) -> Iterator[bytes]:
    for position in range(offset, offset + length, most):
        yield file.at(position, min(most, offset + length - position))


class _Blank:
    """Whether native pixels have one value, piece by piece; the last byte may pad an odd length and is not looked at.

    Attributes:
        size: bytes of a pixel.
    """

    def __init__(self, header: Header) -> None:
        bits, samples = (_number(header, tag) for tag in (BITS_ALLOCATED, SAMPLES_PER_PIXEL))
        self.size = max(1, (bits or 8) // 8) * (samples or 1)
        self._pixel = self._last = b""
        self._is_one = True

    def add(self, piece: bytes) -> None:
        """The next bytes, which begin with a pixel."""
        if not self._is_one:
            return
        self._pixel = self._pixel or piece[: self.size]
        self._compare(self._last)
        self._last = piece

    def holds(self) -> bool:
        """The answer, after the last piece."""
        self._compare(self._last[:-1])
        return self._is_one

    def _compare(self, piece: bytes) -> None:
        if piece and self._is_one:
            self._is_one = piece[: self.size] == self._pixel[: len(piece)] and piece[self.size :] == piece[: -self.size]


def _number(header: Header, tag: int) -> int | None:
    values = json.loads((header.text(tag) or "")[11:] or "{}").get("Value") or [None]
    return values[0] if isinstance(values[0], int) and 0 < values[0] < 1 << 10 else None


def _decodes_to_one_value(content: bytes) -> bool:
    try:
        frame = pydicom.dcmread(io.BytesIO(content), specific_tags=["PixelData", *PIXEL_MODULE]).pixel_array
    except Exception:  # no decoder, or not what it says: then it is not known to be blank
        return False
    return bool((frame == frame.flat[0]).all())


def _pixels(descriptor: int, header: Header) -> tuple[File, int]:
    """Where the pixels stand, and at which position of it."""
    if header.lenient or header.is_inflated:
        with open(descriptor, "rb", closefd=False) as stream:
            return _pixels_of(stream.read(), header)
    return File(os.fstat(descriptor).st_size, descriptor), header.pixel_at


def _pixels_of(content: bytes, header: Header) -> tuple[File, int]:
    if header.lenient:  # only pydicom finds them
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            value = pydicom.dcmread(io.BytesIO(content), force=True).get_item(PIXEL_DATA).value
        return Memory(value if isinstance(value, bytes) else b""), 0
    if header.is_inflated:
        _, start = file_meta(content[:META_BYTES])
        return Memory(content[:start] + inflate(content[start:])), header.pixel_at
    return Memory(content), header.pixel_at


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
