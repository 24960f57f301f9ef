"""Walking the elements of an encoded dataset without decoding them (PS3.5 section 7).

Made for one question, asked of every object that arrives: what do a few elements at its start say? Values that are
not wanted are stepped over, so it works on a mapped file of any size.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass

Buffer = bytes | mmap.mmap
Unpack = Callable[[Buffer, int], tuple[int, ...]]

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
LONG_VRS = b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split()
SHORT_VRS = b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()
LONGEST_VALUE = 1024  # of a wanted element; UIDs have 64 characters
MOST_ELEMENTS = 100_000  # more before the wanted ones is an attack on our time
DEEPEST = 64


class Unscannable(ValueError):  # noqa: N818
    """The bytes are not encoded as the transfer syntax says."""


class Endless(Unscannable):
    """There are more elements, or deeper ones, than any honest header has."""


@dataclass(frozen=True)
class Scanned:
    """What was found.

    Attributes:
        values: raw values of the wanted elements that are there, by tag.
        whole: the walk came past the last wanted tag or to the very end; False when the data ended inside an element.
    """

    values: dict[int, bytes]
    whole: bool


class _Cut(Exception):  # noqa: N818
    """The data ends inside an element."""


def scan(data: Buffer, start: int, implicit: bool, big_endian: bool, wanted: Collection[int]) -> Scanned:
    """Raw values of top-level elements.

    Args:
        data: a buffer that holds the encoded dataset from `start` to its end.
        implicit, big_endian: of the transfer syntax.
        wanted: tags; the walk ends at the first one that is greater than all of them.

    Raises:
        Endless: too many elements before the wanted ones.
        Unscannable: an unknown VR, an item outside a sequence, a wanted value longer than a kilobyte, and so on.
    """
    walk = _Walk(data, big_endian)
    values: dict[int, bytes] = {}
    last = max(wanted)
    groups = frozenset(tag >> 16 for tag in wanted)
    tags = frozenset(wanted)
    position, end = start, len(data)
    try:
        while position < end:
            if not implicit:
                position = walk.past_unwanted(position, tags, groups)
            tag, is_un, length, at = walk.header(position, implicit)
            if tag > last:
                return Scanned(values, True)
            if length == UNDEFINED:
                position = walk.past_sequence(at, implicit or is_un)
                continue
            position = at + length
            if tag in tags:
                if length > LONGEST_VALUE:
                    raise Unscannable("A value is too long for what it is.")
                if position > end:
                    raise _Cut
                values[tag] = bytes(data[at:position])
    except _Cut:
        return Scanned(values, False)
    return Scanned(values, position == end)


def is_whole(data: Buffer, start: int, implicit: bool, big_endian: bool) -> bool:
    """Whether the dataset ends where an element ends; zeros behind the last one are padding.

    Raises:
        Unscannable: see `scan`.
    """
    walk = _Walk(data, big_endian)
    position, end = start, len(data)
    try:
        while position < end:
            if end - position < 8 and not bytes(data[position:end]).strip(b"\0"):
                return True
            _, is_un, length, at = walk.header(position, implicit)
            position = walk.past_sequence(at, implicit or is_un) if length == UNDEFINED else at + length
    except _Cut:
        return False
    return position == end


def _order(sign: str) -> tuple[Unpack, Unpack, frozenset[int], frozenset[int], int]:
    """How to unpack four shorts and a length, and the VRs as numbers, which are found faster than two letters."""
    number = struct.Struct(sign + "H").unpack
    short, long = (frozenset(number(vr)[0] for vr in vrs) for vrs in (SHORT_VRS, LONG_VRS))
    return (
        struct.Struct(sign + "HHHH").unpack_from,
        struct.Struct(sign + "I").unpack_from,
        short,
        long,
        number(b"UN")[0],
    )


_ORDERS = {False: _order("<"), True: _order(">")}  # by whether it is big endian


class _Walk:
    """Steps over elements; counts them, so that no data keeps it busy for long."""

    def __init__(self, data: Buffer, big_endian: bool) -> None:
        self._data = data
        self._end = len(data)
        self._shorts, self._length, self._short, self._long, self._un = _ORDERS[big_endian]
        self._left = MOST_ELEMENTS

    def header(self, position: int, implicit: bool) -> tuple[int, bool, int, int]:
        """Tag, whether the VR is UN, length, and where the value begins."""
        self._left -= 1
        if self._left < 0:
            raise Endless("There are too many elements before the series UID.")
        if position + 8 > self._end:
            raise _Cut
        group, element, vr, length = self._shorts(self._data, position)
        if implicit or group == 0xFFFE:
            return group << 16 | element, False, self._length(self._data, position + 4)[0], position + 8
        if vr in self._short:
            return group << 16 | element, False, length, position + 8
        if vr not in self._long:
            raise Unscannable("There is no such VR.")
        if position + 12 > self._end:
            raise _Cut
        return group << 16 | element, vr == self._un, self._length(self._data, position + 8)[0], position + 12

    def past_unwanted(self, position: int, tags: frozenset[int], groups: frozenset[int]) -> int:
        """Where the first element begins that is wanted, is in a later group, or has a long length field.

        The same as `header` for each element before it, in a third of the time, and those are the most.

        Args:
            groups: those of `tags`.
        """
        shorts, data, short, last = self._shorts, self._data, self._short, max(groups)
        try:
            for done in range(self._left):
                group, element, vr, length = shorts(data, position)
                if vr not in short or group > last or (group in groups and group << 16 | element in tags):
                    self._left -= done
                    return position
                position += 8 + length
        except struct.error:
            raise _Cut from None
        raise Endless("There are too many elements before the series UID.")

    def past_sequence(self, position: int, implicit: bool) -> int:
        """Where the element of undefined length ends whose value begins at `position` (PS3.5 7.5)."""
        open_ones = [(False, implicit)]  # (inside an item, implicit VR), the innermost last
        while open_ones:
            inside, implicit = open_ones[-1]
            tag, is_un, length, position = self.header(position, implicit)
            if tag == (ITEM_END if inside else SEQUENCE_END):
                open_ones.pop()
            elif inside != (tag >> 16 != 0xFFFE) or (not inside and tag != ITEM):
                raise Unscannable("Sequences and items are not nested as they should be.")
            elif length != UNDEFINED:
                position += length
            elif len(open_ones) == DEEPEST:
                raise Endless("Sequences are nested too deep.")
            else:
                open_ones.append((not inside, implicit or is_un))
        return position
