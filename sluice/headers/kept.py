"""The bytes of a header, and a file made of them again: what was left out reads as zeros.

Kept is everything in a file but its pixels and values of more than 64 KiB, which DICOM JSON leaves out as well. So a
header can be parsed again, by whatever reads DICOM, after the file is gone. Of a deflated file its inflated data set is
kept, since the deflated one cannot be cut.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from sluice.headers.header import Hole
from sluice.headers.source import File

_ITEM_START = struct.Struct("<HHL")


def bytes_outside(file: File, holes: Sequence[Hole], first: bytes) -> bytes:
    """The bytes of a file without its holes.

    Args:
        first: the file's first bytes, as far as they are at hand.
    """
    pieces, position = [], 0
    for hole in [*holes, Hole(file.size, 0)]:
        if hole.offset <= len(first):
            pieces.append(first[position : hole.offset])
        elif hole.offset > position:
            pieces.append(file.at(position, hole.offset - position))
        position = hole.offset + hole.length
    return b"".join(pieces)


class Kept(File):
    """A file of which only the header is there; a hole reads as zeros, and a chain of fragments as one fragment.

    Args:
        size: bytes of the file.
        holes: what is missing, in the order of the file.
        data: the rest.
        is_inflated: the file was deflated, and this is what it inflates to.
    """

    def __init__(self, size: int, holes: Sequence[Hole], data: bytes, is_inflated: bool) -> None:
        super().__init__(size)
        self.holes, self.data, self.is_inflated = list(holes), data, is_inflated

    def at(self, position: int, count: int) -> bytes:
        """At most `count` bytes from `position`."""
        end = min(position + count, self.size)
        out = bytearray(max(end - position, 0))
        for offset, piece in self.pieces():
            first, last = max(offset, position), min(offset + len(piece), end)
            if first < last:
                out[first - position : last - position] = piece[first - offset : last - offset]
        return bytes(out)

    def pieces(self) -> list[tuple[int, bytes]]:
        """What is there: offset in the file and bytes."""
        found, position, taken = [], 0, 0
        for hole in [*self.holes, Hole(self.size, 0)]:
            length = hole.offset - position
            if length:
                found.append((position, self.data[taken : taken + length]))
            taken += length
            if hole.is_fragments:
                found.append((hole.offset, _ITEM_START.pack(0xFFFE, 0xE000, hole.length - 8)))
            position = hole.offset + hole.length
        return found

    def write(self, path: Path) -> None:
        """Write it as a file of its full size, which takes no more room than the header where the disk knows holes."""
        with path.open("wb") as file:
            file.truncate(self.size)
            for offset, piece in self.pieces():
                file.seek(offset)
                file.write(piece)
