"""`header_block.content`: the bytes of a block's headers one behind the other, compressed together.

A Zstandard frame (RFC 8878) of one line of JSON and the bytes that `sluice.headers.kept` keeps. The line is an array
with an entry for each instance: bytes of its file, whether it was inflated, what of it is missing (offset, length,
whether it is a chain of fragments), and how many of the bytes are its. Where the block names a dictionary, the frame
needs its content as a raw one; where it names a template, followed by `words` of its own elements, which the bytes
would else say a second time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import zstandard

from sluice.headers.header import Header, Hole
from sluice.headers.kept import Kept

LEVEL = 1  # headers of a series repeat so much that higher ones find nothing more
LEVEL_OF_FEW = 5


@lru_cache(maxsize=256)
def _compressor(dictionary: bytes) -> zstandard.ZstdCompressor:
    return zstandard.ZstdCompressor(level=LEVEL, dict_data=_raw(dictionary))


def _raw(dictionary: bytes) -> zstandard.ZstdCompressionDict | None:
    return zstandard.ZstdCompressionDict(dictionary, zstandard.DICT_TYPE_RAWCONTENT) if dictionary else None


def words(elements: Mapping[str, Any]) -> bytes:
    """The texts in DICOM JSON, in the order of their tags; numbers are written in too many ways to be any use."""
    return "\\".join(_texts(elements)).encode("utf-8", "surrogatepass")


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for key in sorted(value):
                if key != "vr":
                    yield from _texts(value[key])
        case list():
            for item in value:
                yield from _texts(item)


def packed(headers: Sequence[Header], dictionary: bytes = b"", own: Mapping[str, Any] | None = None) -> bytes:
    """The content of a block of these headers.

    Args:
        dictionary: bytes that are likely to occur in them; see `sluice.headers.dictionaries`.
        own: of a block with a template, its elements besides it.
    """
    index = [
        [
            header.size,
            int(header.is_inflated),
            [[hole.offset, hole.length, int(hole.is_fragments)] for hole in header.holes],
            len(header.kept),
        ]
        for header in headers
    ]
    line = json.dumps(index, separators=(",", ":")).encode() + b"\n"
    if own is None:
        compressor = _compressor(dictionary)
    else:  # with a checksum, so that other words are noticed
        known = _raw(dictionary + words(own))
        compressor = zstandard.ZstdCompressor(level=LEVEL_OF_FEW, dict_data=known, write_checksum=True)
    return compressor.compress(b"".join([line, *(header.kept for header in headers)]))


def unpacked(content: bytes, dictionary: bytes = b"", own: Mapping[str, Any] | None = None) -> list[Kept]:
    """What is kept of each file of a block, by position; `dictionary` and `own` are those that it was packed with."""
    known = dictionary if own is None else dictionary + words(own)
    data = zstandard.ZstdDecompressor(dict_data=_raw(known)).decompress(content)
    line, _, _ = data.partition(b"\n")
    position, found = len(line) + 1, []
    for size, is_inflated, holes, length in json.loads(line):
        missing = [Hole(offset, long, bool(is_fragments)) for offset, long, is_fragments in holes]
        found.append(Kept(size, missing, data[position : position + length], bool(is_inflated)))
        position += length
    return found
