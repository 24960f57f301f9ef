"""How the headers of one series are laid out: long stretches of equal bytes, and the elements between them that vary.

The files of a series agree in most of their bytes. A layout is made from the first file, as one stretch. Where a later
file differs, the element that does becomes a slot of its own, so that after a few files a header of some 260 elements
is compared in some twenty stretches and read in as many slots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from sluice.headers.header import Context, Elements, Item
from sluice.headers.source import LONG_VRS, UNDEFINED
from sluice.headers.values import BINARY_VRS, WRITERS, element_text
from sluice.headers.vrs import NOTED, vr_of

PLAIN_VRS = (BINARY_VRS | frozenset(WRITERS)) - {b"UN"}


class ElementReader(Protocol):
    """What a layout asks of the parser."""

    def element(self, data: bytes, position: int, end: int, context: Context) -> tuple[str, int]:
        """Text of the element at `position`, and where the next one starts."""


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Elements `first` and the following, whose bytes are the same in every file so far."""

    first: int
    count: int
    data: bytes


@dataclass(frozen=True, slots=True)
class _Slot:
    """An element that varies.

    Attributes:
        head: the bytes it has to begin with, tag and VR.
        length_at, value_at: where its length and value stand, from its beginning.
        raw: its bytes in the first file; empty where the text depends on more than them.
        vr: None where the parser has to read it (sequences, unknown ones).
    """

    index: int
    head: bytes
    length_at: int
    value_at: int
    raw: bytes
    vr: bytes | None


class Layout:
    """The layout of headers that follow each other.

    Args:
        data: bytes of the first file's elements, from the first to the last of `items`.
        items: those elements, one behind the other.
        end_context: the context behind them.
    """

    def __init__(self, data: bytes, items: list[Item], end_context: Context) -> None:
        self.elements = Elements(items)
        self.end_context = end_context
        self._contexts = [item[4] for item in items]
        self._data = data
        self._starts = [*(item[2] - items[0][2] for item in items), len(data)]
        self._parts: list[_Stretch | _Slot] = []

    def spans(self) -> Iterator[tuple[int, str, bytes]]:
        """Tag, text and bytes of each element of the first file."""
        for index, tag in enumerate(self.elements.tags):
            yield tag, self.elements.texts[index], self._data[self._starts[index] : self._starts[index + 1]]

    def match(
        self, data: bytes, position: int, reader: ElementReader, place: Callable[[int], int | None]
    ) -> tuple[int, dict[int, str]] | None:
        """Read a header's beginning by this layout.

        Args:
            data: the file's first bytes.
            position: where its first element stands in them.
            place: the offset that is written for a value at a position.

        Returns:
            Where the elements end that the layout describes, and the texts that differ; None where the
            header has other elements than it.
        """
        if not self._parts:
            self._begin()
        parts, size = self._parts, len(data)
        texts, tags, contexts = self.elements.texts, self.elements.tags, self._contexts
        changes: dict[int, str] = {}
        number = 0
        while number < len(parts):
            part = parts[number]
            if type(part) is _Stretch:
                if data.startswith(part.data, position):
                    position += len(part.data)
                    number += 1
                elif not self._split(number, part, data, position):
                    return None
                continue
            assert type(part) is _Slot
            if not data.startswith(part.head, position):
                return None
            at, value = position + part.length_at, position + part.value_at
            if value > size:
                return None
            length = int.from_bytes(data[at : at + (2 if part.length_at == 6 else 4)], "little")
            index = part.index
            if length == UNDEFINED or part.vr is None:
                try:
                    text, stop = reader.element(data, position, size, contexts[index])
                except EOFError:
                    return None
            else:
                stop = value + length
                if stop > size:
                    return None
                if data[position:stop] == part.raw:
                    position = stop
                    number += 1
                    continue
                text = element_text(tags[index], part.vr, data[value:stop], contexts[index].encodings, place(value))
            if texts[index] and text != texts[index]:
                changes[index] = text
            position = stop
            number += 1
        return position, changes

    def _begin(self) -> None:
        """One stretch; elements whose text depends on their place are slots from the start."""
        first = 0
        for index, text in enumerate(self.elements.texts):
            if '"BulkDataURI"' in text:
                self._parts += [*self._stretch(first, index), self._slot(index, placed=True)]
                first = index + 1
        self._parts += self._stretch(first, len(self.elements.texts))

    def _stretch(self, first: int, end: int) -> list[_Stretch]:
        data = self._data[self._starts[first] : self._starts[end]]
        return [_Stretch(first, end - first, data)] if first < end else []

    def _slot(self, index: int, placed: bool = False) -> _Slot:
        raw = self._data[self._starts[index] : self._starts[index + 1]]
        context, tag = self._contexts[index], self.elements.tags[index]
        if context.implicit:
            vr: bytes = vr_of(tag, context)
            head, length_at, value_at = raw[:4], 4, 8
        else:
            vr, head = raw[4:6], raw[:6]
            length_at, value_at = (8, 12) if vr in LONG_VRS else (6, 8)
        return _Slot(index, head, length_at, value_at, b"" if placed else raw, vr if vr in PLAIN_VRS else None)

    def _split(self, number: int, part: _Stretch, data: bytes, position: int) -> bool:
        """Make a slot of the first element of a stretch that differs; whether there can be one."""
        start = self._starts[part.first]
        low, high = 0, part.count  # the first `low` elements are equal, the first `high` are not all
        while high - low > 1:
            middle = (low + high) // 2
            length = self._starts[part.first + middle] - start
            if data.startswith(part.data[:length], position):
                low = middle
            else:
                high = middle
        index = part.first + low
        tag = self.elements.tags[index]
        is_creator = tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF
        slot = self._slot(index)
        at = position + self._starts[index] - start
        if tag in NOTED or is_creator or not data.startswith(slot.head, at):
            return False
        self._parts[number : number + 1] = [
            *self._stretch(part.first, index),
            slot,
            *self._stretch(index + 1, part.first + part.count),
        ]
        return True
