"""One file's header as DICOM JSON, read in one pass over its bytes (PS3.5 section 7, PS3.10 section 7.1).

Little endian (implicit, explicit, deflated) is read here. Anything odd (big endian, no preamble, an unknown
VR, an encoding that changes in the middle) is handed to pydicom, see `sluice.headers.lenient`, so pydicom's
answer is the reference in both cases.

Elements of a series repeat from file to file, so the JSON text of short elements is remembered by their
bytes: most of a header is then one dictionary look-up an element.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import lru_cache

from pydicom.datadict import dictionary_VR, private_dictionary_VR

from sluice.headers.source import (
    DEFLATED_LITTLE,
    EXPLICIT_BIG,
    IMPLICIT_LITTLE,
    ITEM,
    KNOWN_VRS,
    LONG_VRS,
    SEQUENCE_END,
    UNDEFINED,
    File,
    HeaderError,
    Memory,
    OddError,
    check_padding,
    ends_in,
    file_meta,
    implicit_header,
    inflate,
    length_at,
    short_header,
    skip_fragments,
)
from sluice.headers.values import (
    LATIN,
    WRITERS,
    Encodings,
    bulk_text,
    element_text,
    empty_text,
    encodings_of,
)

CHUNK = 64 << 10
NOTED = frozenset({0x00080005, 0x00280103, 0x00283002})  # later elements depend on them
PIXEL_DATA = 0x7FE00010
DEEPEST = 100
CACHED_BYTES = 256
CACHE_SIZE = 40_000
FRAGMENT_LIMIT = 16 << 20


class ShortError(Exception):
    """The bytes at hand end inside an element that starts at `start` of the data set's top level."""

    def __init__(self, tag: int = 0) -> None:
        super().__init__()
        self.tag = tag


@dataclass
class Header:
    """A header.

    Attributes:
        transfer_syntax_uid: from the file meta information.
        json: DICOM JSON text of the data set, file meta information and group lengths left out.
        wanted: JSON text of the top-level elements that were asked for, by tag.
        pixel_bytes: length of the value of (7FE0,0010); None without pixel data.
        lenient: pydicom had to read it.
    """

    transfer_syntax_uid: str
    json: str
    wanted: dict[int, str]
    pixel_bytes: int | None = None
    lenient: bool = False


@dataclass
class _Context:
    """What an element's reading depends on, besides its bytes."""

    implicit: bool
    encodings: Encodings = LATIN
    signed_pixels: bool | None = None
    lut_entries: int | None = None
    creators: dict[int, str] = field(default_factory=dict)

    def of_item(self, implicit: bool) -> _Context:
        return _Context(implicit, self.encodings, self.signed_pixels)


class HeaderParser:
    """Reads headers of many files, remembering the text of elements that repeat.

    Args:
        wanted: top-level tags whose JSON is needed by itself (for typed columns).
    """

    def __init__(self, wanted: Collection[int] = ()) -> None:
        self.wanted = frozenset(wanted)
        self._remembered: dict[tuple[bool, Encodings], dict[bytes, str]] = {}
        self._offset: int | None = 0

    def read(self, path: str | os.PathLike[str]) -> Header:
        """The header of a file.

        Raises:
            HeaderError: `truncated` (it ends inside an element) or `unreadable`.
            OSError: the file cannot be opened or read.
        """
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return self._read(File(os.fstat(descriptor).st_size, descriptor))
        finally:
            os.close(descriptor)

    def _read(self, file: File) -> Header:
        chunk = file.at(0, CHUNK)
        if chunk[128:132] != b"DICM":
            raise OddError
        syntax, start = file_meta(chunk)
        if syntax == EXPLICIT_BIG:
            raise OddError
        if syntax == DEFLATED_LITTLE:
            file, start = Memory(inflate(file.at(start, file.size))), 0
        self._offset = None if syntax == DEFLATED_LITTLE else start
        header = Header(syntax, "", {})
        out: list[str] = []
        context = _Context(implicit=syntax == IMPLICIT_LITTLE)
        base, size = start, CHUNK
        while base < file.size:
            data = file.at(base, size)
            if self._offset is not None:
                self._offset = base
            try:
                done = self._top_level(data, file, base, context, header, out)
            except RecursionError:
                raise HeaderError("unreadable", "sequences are nested too deeply") from None
            if done == base:
                if base + len(data) >= file.size:
                    raise HeaderError("truncated", "the file ends inside an element")
                size *= 8
            else:
                base, size = done, CHUNK
        header.json = "{" + ",".join(out) + "}"
        return header

    def _top_level(self, data: bytes, file: File, base: int, context: _Context, header: Header, out: list[str]) -> int:
        """Read whole elements of `data`, which starts at `base` of the file; return where the next one starts."""
        position, end = 0, len(data)
        at_end = base + end >= file.size
        remembered = self._cache(context)
        implicit, wanted = context.implicit, self.wanted
        while position < end:
            if position + 12 > end and not (at_end and position + 8 <= end):
                if at_end:
                    check_padding(data[position:], base + position)
                    return base + end
                return base + position
            # --- one element's header
            if implicit:
                group, element, length = implicit_header(data, position)
                vr, value = b"", position + 8
            else:
                group, element, vr, length = short_header(data, position)
                if vr in LONG_VRS:
                    if position + 12 > end:
                        raise HeaderError("truncated", ends_in(group << 16 | element, base + end))
                    length = int(length_at(data, position + 8)[0])
                    value = position + 12
                elif vr in KNOWN_VRS:
                    value = position + 8
                elif group == 0 and element == 0:
                    check_padding(file.at(base + position, file.size), base + position)
                    return file.size
                else:
                    raise OddError
            tag = group << 16 | element
            stop = value + length
            # --- left out without being read: pixels, and whatever is too long for the chunk
            if length == UNDEFINED:
                if vr != b"SQ" and vr != b"UN" and (vr or tag == PIXEL_DATA):
                    after, total = skip_fragments(file, base + value, tag)
                    out.append(bulk_text(tag, (vr or b"OB").decode("latin-1"), self._place(value), total))
                    if tag == PIXEL_DATA:
                        header.pixel_bytes = total
                    return after
            elif tag == PIXEL_DATA or (stop > end and length > CHUNK and vr != b"SQ" and vr != b"UN" and not implicit):
                if base + stop > file.size:
                    raise HeaderError("truncated", ends_in(tag, file.size, length))
                name = vr.decode("latin-1") if vr else "OW"
                out.append(bulk_text(tag, name, self._place(value), length) if length else empty_text(tag, name))
                if tag == PIXEL_DATA:
                    header.pixel_bytes = length
                if stop > end:
                    return int(base + stop)
                position = stop
                continue
            elif stop > end:
                if base + stop > file.size:
                    raise HeaderError("truncated", ends_in(tag, file.size, length))
                return base + position
            # --- read
            text = remembered.get(data[position:stop]) if length <= CACHED_BYTES else None
            if text is not None:
                position = stop
            else:
                start = position
                try:
                    text, position = self._element(data, position, end, context, 0)
                except ShortError as short:
                    if at_end:
                        raise HeaderError("truncated", ends_in(short.tag or tag, file.size)) from None
                    return base + start
                if position - start <= CACHED_BYTES and text and not self._depends(tag, vr, context):
                    self._remember(remembered, data[start:position], text)
            if element == 0:
                continue  # group lengths are no attributes, PS3.18 F.2.2
            if len(text) > FRAGMENT_LIMIT:
                text = bulk_text(tag, text[18:20], self._place(value), position - value)
            out.append(text)
            if tag in wanted:
                header.wanted[tag] = text
            if tag in NOTED or (group & 1 and element <= 0xFF):
                remembered = self._note(tag, data[value:position], context)
        return base + end

    def _cache(self, context: _Context) -> dict[bytes, str]:
        return self._remembered.setdefault((context.implicit, context.encodings), {})

    def _remember(self, remembered: dict[bytes, str], raw: bytes, text: str) -> None:
        if len(remembered) >= CACHE_SIZE:
            remembered.clear()
        remembered[raw] = text

    def _depends(self, tag: int, vr: bytes, context: _Context) -> bool:
        """Whether the text depends on more than the bytes and the character set."""
        if not vr or vr == b"UN":
            return bool(tag >> 16 & 1) or self._vr(tag, context) not in WRITERS or b" or " in _dictionary_vr(tag)
        return False

    def _note(self, tag: int, value: bytes, context: _Context) -> dict[bytes, str]:
        """Keep what later elements depend on; return the cache to go on with."""
        if tag == 0x00080005:
            context.encodings = encodings_of(value)
        elif tag == 0x00280103 and len(value) == 2:
            context.signed_pixels = value != b"\x00\x00"
        elif tag == 0x00283002 and len(value) >= 2:
            context.lut_entries = int.from_bytes(value[:2], "little")
        elif tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF:
            context.creators[tag] = value.decode("latin-1").strip(" \x00")
        return self._cache(context)

    def _vr(self, tag: int, context: _Context) -> bytes:
        """VR of an element that does not tell its own (implicit, or UN), PS3.5 6.2.2."""
        group, element = tag >> 16, tag & 0xFFFF
        if group & 1:
            if 0x10 <= element <= 0xFF:
                return b"LO"
            creator = context.creators.get(group << 16 | element >> 8)
            return _private_vr(tag, creator) if creator and element > 0xFF else b"UL" if not element else b"UN"
        vr = _dictionary_vr(tag)
        if b" or " not in vr:
            return vr
        if vr == b"US or SS":
            return b"SS" if context.signed_pixels else b"US"
        if tag == 0x00283006:
            return b"US" if context.lut_entries == 1 else b"OW"
        return b"OW"

    def _place(self, position: int) -> int | None:
        return None if self._offset is None else self._offset + position

    def _element(self, data: bytes, position: int, end: int, context: _Context, depth: int) -> tuple[str, int]:
        """Text of the element at `position` and where the next one starts."""
        if position + 8 > end:
            raise ShortError
        implicit = context.implicit
        if implicit:
            group, element, length = implicit_header(data, position)
            tag, position = group << 16 | element, position + 8
            vr = self._vr(tag, context)
        else:
            group, element, vr, length = short_header(data, position)
            tag, position = group << 16 | element, position + 8
            if vr in LONG_VRS:
                if position + 4 > end:
                    raise ShortError(tag)
                length, position = int(length_at(data, position)[0]), position + 4
            elif vr not in KNOWN_VRS:
                raise OddError
            if vr == b"UN":
                if length == UNDEFINED:
                    vr, implicit = b"SQ", True
                elif length < 0xFFFF or group & 1:
                    vr = self._vr(tag, context)
                    implicit = vr == b"SQ"
        if length == UNDEFINED:
            stop = end
        else:
            stop = position + length
            if stop > end:
                raise ShortError(tag)
        if vr == b"SQ" or (length == UNDEFINED and implicit and tag != PIXEL_DATA):
            items, stop = self._items(data, position, stop, context, implicit, length == UNDEFINED, depth + 1)
            inside = f',"Value":[{items}]' if items else ""
            return f'"{tag:08X}":{{"vr":"SQ"{inside}}}', stop
        if length == UNDEFINED:  # a compressed icon
            try:
                stop, total = skip_fragments(Memory(data), position, tag)
            except HeaderError:
                raise ShortError(tag) from None
            return bulk_text(tag, "OB", self._place(position), total), stop
        if not element:
            return f'"{tag:08X}":{{"vr":"UL"}}', stop
        return element_text(tag, vr, data[position:stop], context.encodings, self._place(position)), stop

    def _items(
        self, data: bytes, position: int, stop: int, context: _Context, implicit: bool, delimited: bool, depth: int
    ) -> tuple[str, int]:
        """Texts of a sequence's items and where the sequence ends."""
        if depth > DEEPEST:
            raise HeaderError("unreadable", f"sequences are nested more than {DEEPEST} deep")
        items: list[str] = []
        while position < stop:
            if position + 8 > stop:
                raise ShortError if delimited else OddError
            group, element, length = implicit_header(data, position)
            tag, position = group << 16 | element, position + 8
            if tag == SEQUENCE_END:
                if not delimited:
                    raise OddError
                return ",".join(items), position
            if tag != ITEM:
                raise OddError
            if length != UNDEFINED and position + length > stop:
                raise ShortError if delimited else OddError
            text, position = self._item(data, position, length, stop, context.of_item(implicit), depth)
            items.append(text)
        if delimited:
            raise ShortError
        return ",".join(items), position

    def _item(
        self, data: bytes, position: int, length: int, stop: int, context: _Context, depth: int
    ) -> tuple[str, int]:
        """Text of one item's data set and where it ends."""
        end = stop if length == UNDEFINED else position + length
        out: list[str] = []
        while position < end:
            if length == UNDEFINED and data[position : position + 4] == b"\xfe\xff\x0d\xe0":
                if position + 8 > end:
                    raise ShortError
                return "{" + ",".join(out) + "}", position + 8
            start = position
            try:
                text, position = self._element(data, position, end, context, depth)
            except ShortError:
                if length != UNDEFINED:  # the item ends inside its element: not a matter of more bytes
                    raise OddError from None
                raise
            tag = int(text[1:9], 16)
            if not tag & 0xFFFF:
                continue
            out.append(text)
            if tag >> 16 & 1 or tag in NOTED:
                header_length = 12 if not context.implicit and data[start + 4 : start + 6] in LONG_VRS else 8
                self._note(tag, data[start + header_length : position], context)
        if length == UNDEFINED:
            raise ShortError
        return "{" + ",".join(out) + "}", position


@lru_cache(maxsize=65536)
def _dictionary_vr(tag: int) -> bytes:
    try:
        return dictionary_VR(tag).encode("ascii")
    except KeyError:
        return b"UN" if tag & 0xFFFF else b"UL"


@lru_cache(maxsize=65536)
def _private_vr(tag: int, creator: str) -> bytes:
    try:
        return private_dictionary_VR(tag, creator).encode("ascii")
    except KeyError:
        return b"UN"
