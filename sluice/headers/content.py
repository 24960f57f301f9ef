"""`header_block.content`: the bytes of a block's headers one behind the other, compressed together.

A Zstandard frame (RFC 8878) of one line of JSON and the bytes that `sluice.headers.kept` keeps. The line is an array
with an entry for each instance: bytes of its file, whether it was inflated, what of it is missing (offset, length,
whether it is a chain of fragments), and how many of the bytes are its. Where the block names a dictionary, the frame
needs its content as a raw one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache

import zstandard

from sluice.headers.header import Header, Hole
from sluice.headers.kept import Kept

LEVEL = 1  # headers of a series repeat so much that higher ones find nothing more


@lru_cache(maxsize=256)
def _compressor(dictionary: bytes) -> zstandard.ZstdCompressor:
    return zstandard.ZstdCompressor(level=LEVEL, dict_data=_raw(dictionary))


def _raw(dictionary: bytes) -> zstandard.ZstdCompressionDict | None:
    return zstandard.ZstdCompressionDict(dictionary, zstandard.DICT_TYPE_RAWCONTENT) if dictionary else None


def packed(headers: Sequence[Header], dictionary: bytes = b"") -> bytes:
    """The content of a block of these headers.

    Args:
        dictionary: bytes that are likely to occur in them; see `sluice.headers.dictionaries`.
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
    return _compressor(dictionary).compress(b"".join([line, *(header.kept for header in headers)]))


def unpacked(content: bytes, dictionary: bytes = b"") -> list[Kept]:
    """What is kept of each file of a block, by position; `dictionary` is the one that it was packed with."""
    data = zstandard.ZstdDecompressor(dict_data=_raw(dictionary)).decompress(content)
    line, _, _ = data.partition(b"\n")
    position, found = len(line) + 1, []
    for size, is_inflated, holes, length in json.loads(line):
        missing = [Hole(offset, long, bool(is_fragments)) for offset, long, is_fragments in holes]
        found.append(Kept(size, missing, data[position : position + length], bool(is_inflated)))
        position += length
    return found
