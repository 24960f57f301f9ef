"""One file's header as DICOM JSON, read in one pass over its bytes (PS3.5 section 7, PS3.10 section 7.1).

Little endian (implicit, explicit, deflated) is read here. Anything odd (big endian, no preamble, an unknown
VR, an encoding that changes in the middle) is handed to pydicom, see `sluice.headers.lenient`, so pydicom's
answer is the reference in both cases.

Headers of a series repeat from file to file, so a file is first compared with the layouts of those before it
(`sluice.headers.layout`), and only what differs is read. What no layout fits is read element by element, where the JSON
text of short elements is remembered by their bytes.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from contextlib import suppress

from sluice.headers.header import Context, Header, Hole, Item
from sluice.headers.kept import bytes_outside
from sluice.headers.layout import Layout
from sluice.headers.pixels import pixel_pieces
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
    WRITERS,
    Encodings,
    bulk_text,
    element_text,
    empty_text,
)
from sluice.headers.vrs import NOTED, dictionary_vr, noted, vr_of

CHUNK = 64 << 10
PIXEL_DATA = 0x7FE00010
DEEPEST = 100
CACHED_BYTES = 256
CACHE_SIZE = 40_000
FRAGMENT_LIMIT = 16 << 20
KEPT_LIMIT = 64 << 20  # of one header's bytes
SERIES_REMEMBERED, LAYOUTS_OF_SERIES = 8, 4


class ShortError(EOFError):
    """The bytes at hand end inside an element that starts at `start` of the data set's top level."""

    def __init__(self, tag: int = 0) -> None:
        super().__init__()
        self.tag = tag


class HeaderParser:
    """Reads headers of many files, remembering the layouts of series and the text of elements that repeat."""

    def __init__(self) -> None:
        self._remembered: dict[tuple[bool, Encodings], dict[bytes, str]] = {}
        self._layouts: OrderedDict[str, list[Layout]] = OrderedDict()
        self._base = 0
        self._has_places = True

    def read(self, path: str | os.PathLike[str], series: str = "") -> Header:
        """The header of a file.

        Args:
            series: files that are given the same are expected to be alike.

        Raises:
            HeaderError: `truncated` (it ends inside an element) or `unreadable`.
            OSError: the file cannot be opened or read.
        """
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return self.read_from(File(os.fstat(descriptor).st_size, descriptor), series)
        finally:
            os.close(descriptor)

    def read_from(self, file: File, series: str = "") -> Header:
        """The same from an open file, or from what is kept of one."""
        chunk = file.at(0, CHUNK)
        if chunk[128:132] != b"DICM":
            raise OddError
        syntax, start = file_meta(chunk)
        if syntax == EXPLICIT_BIG:
            raise OddError
        is_deflated = syntax == DEFLATED_LITTLE
        if is_deflated and not file.is_inflated:
            file = Memory(chunk[:start] + inflate(file.at(start, file.size)))
            chunk = file.at(0, CHUNK)
        self._has_places = not is_deflated
        header = Header(syntax, file.size, is_inflated=is_deflated)
        try:
            self._read(file, chunk, start, header, self._layouts_of(f"{syntax} {series}"))
        except RecursionError:
            raise HeaderError("unreadable", "sequences are nested too deeply") from None
        header.kept = bytes_outside(file, header.holes, chunk)
        return header

    def spans(self, file: File) -> list[tuple[int, str, bytes]]:
        """Tag, text and bytes of the elements that a file begins with, up to the first value that is left out."""
        self._layouts.clear()
        self.read_from(file)
        return [span for layouts in self._layouts.values() for layout in layouts for span in layout.spans()]

    def _layouts_of(self, series: str) -> list[Layout]:
        layouts = self._layouts.get(series)
        if layouts is None:
            layouts = self._layouts[series] = []
            if len(self._layouts) > SERIES_REMEMBERED:
                self._layouts.popitem(last=False)
        else:
            self._layouts.move_to_end(series)
        return layouts

    def _read(self, file: File, chunk: bytes, start: int, header: Header, layouts: list[Layout]) -> None:
        self._base = 0
        first: list[Item] = []
        position, context, out = start, Context(implicit=header.transfer_syntax_uid == IMPLICIT_LITTLE), first
        for layout in layouts:
            matched = None
            with suppress(EOFError, OddError, HeaderError):
                matched = layout.match(chunk, start, self, self._place)
            if matched is not None:
                position, header.changes = matched
                header.first, context, out = layout.elements, layout.end_context, []
                if layout is not layouts[0]:
                    layouts.remove(layout)
                    layouts.insert(0, layout)
                break
        base, data, size, is_first = 0, chunk, CHUNK, True
        while base + position < file.size:
            self._base = base
            done, context = self._top_level(data, file, base, position, context, header, out)
            if is_first and out is first:
                out = self._remember_layout(data, header, first, context, layouts)
                is_first = False
            if done >= file.size:
                break
            if done == base + position:
                if base + len(data) >= file.size:
                    raise HeaderError("truncated", "the file ends inside an element")
                size *= 8
            else:
                size = CHUNK
            base, position = done, 0
            data = file.at(base, size)
        header.tail = {tag: text for tag, text, _, _, _ in out if text}
        check_kept(header)
        if header.pixel_bytes:
            header.pixel_pieces = pixel_pieces(file, header.pixel_at, header.pixel_bytes)

    def _remember_layout(
        self, data: bytes, header: Header, items: list[Item], end_context: Context, layouts: list[Layout]
    ) -> list[Item]:
        """Make a layout of the elements before the first value that is left out; return the items behind it."""
        end = min([hole.offset for hole in header.holes] + [len(data)])
        count = 0
        while count < len(items) and items[count][3] <= end and items[count][0] != PIXEL_DATA:
            count += 1
        if not count:
            return items
        beginning, rest = items[:count], items[count:]
        context = rest[0][4] if rest else end_context
        layout = Layout(data[beginning[0][2] : beginning[-1][3]], beginning, context)
        header.first = layout.elements
        layouts.insert(0, layout)
        del layouts[LAYOUTS_OF_SERIES:]
        return rest

    def _top_level(
        self, data: bytes, file: File, base: int, position: int, context: Context, header: Header, out: list[Item]
    ) -> tuple[int, Context]:
        """Read whole elements of `data`, which starts at `base` of the file, from `position` of it; return where the
        next one starts in the file, and the context there."""
        end = len(data)
        at_end = base + end >= file.size
        remembered = self._cache(context)
        implicit = context.implicit
        while position < end:
            if position + 12 > end and not (at_end and position + 8 <= end):
                if at_end:
                    check_padding(data[position:], base + position)
                    return base + end, context
                return base + position, context
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
                    if file.size - base - position > CHUNK:
                        header.holes.append(Hole(base + position, file.size - base - position))
                    return file.size, context
                else:
                    raise OddError
            tag = group << 16 | element
            stop = value + length
            # --- left out without being read: pixels, and whatever is too long for the chunk
            if length == UNDEFINED:
                if vr != b"SQ" and vr != b"UN" and (vr or tag == PIXEL_DATA):
                    after, total = skip_fragments(file, base + value, tag)
                    text = bulk_text(tag, (vr or b"OB").decode("latin-1"), self._place(value), total)
                    out.append((tag, text, base + position, after, context))
                    if total:
                        header.holes.append(Hole(base + value, total, is_fragments=True))
                    if tag == PIXEL_DATA:
                        header.pixel_at, header.pixel_bytes = base + value, total
                    return after, context
            elif tag == PIXEL_DATA or (stop > end and length > CHUNK and vr != b"SQ" and vr != b"UN" and not implicit):
                if base + stop > file.size:
                    raise HeaderError("truncated", ends_in(tag, file.size, length))
                name = vr.decode("latin-1") if vr else "OW"
                text = bulk_text(tag, name, self._place(value), length) if length else empty_text(tag, name)
                out.append((tag, text, base + position, base + stop, context))
                if length:
                    header.holes.append(Hole(base + value, length))
                if tag == PIXEL_DATA:
                    header.pixel_at, header.pixel_bytes = base + value, length
                if stop > end:
                    return base + stop, context
                position = stop
                continue
            elif stop > end:
                if base + stop > file.size:
                    raise HeaderError("truncated", ends_in(tag, file.size, length))
                return base + position, context
            # --- read
            start = position
            text = remembered.get(data[position:stop], "") if length <= CACHED_BYTES else ""
            if text:
                position = stop
            else:
                try:
                    text, position = self.element(data, position, end, context, 0)
                except ShortError as short:
                    if at_end:
                        raise HeaderError("truncated", ends_in(short.tag or tag, file.size)) from None
                    return base + start, context
                if position - start <= CACHED_BYTES and text and not self._depends(tag, vr, context):
                    self._remember(remembered, data[start:position], text)
            if len(text) > FRAGMENT_LIMIT:
                text = bulk_text(tag, text[18:20], self._place(value), position - value)
            elif length > CHUNK and length != UNDEFINED and text.startswith('"BulkDataURI"', 22):
                header.holes.append(Hole(base + value, length))
            out.append((tag, text if element else "", base + start, base + position, context))
            if tag in NOTED or (group & 1 and element <= 0xFF):
                context = noted(tag, data[value:position], context)
                remembered = self._cache(context)
        return base + end, context

    def _cache(self, context: Context) -> dict[bytes, str]:
        return self._remembered.setdefault((context.implicit, context.encodings), {})

    def _remember(self, remembered: dict[bytes, str], raw: bytes, text: str) -> None:
        if len(remembered) >= CACHE_SIZE:
            remembered.clear()
        remembered[raw] = text

    def _depends(self, tag: int, vr: bytes, context: Context) -> bool:
        """Whether the text depends on more than the bytes and the character set."""
        if not vr or vr == b"UN":
            return bool(tag >> 16 & 1) or vr_of(tag, context) not in WRITERS or b" or " in dictionary_vr(tag)
        return False

    def _place(self, position: int) -> int | None:
        return self._base + position if self._has_places else None

    def element(self, data: bytes, position: int, end: int, context: Context, depth: int = 0) -> tuple[str, int]:
        """Text of the element at `position` and where the next one starts."""
        if position + 8 > end:
            raise ShortError
        implicit = context.implicit
        if implicit:
            group, element, length = implicit_header(data, position)
            tag, position = group << 16 | element, position + 8
            vr = vr_of(tag, context)
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
                    vr = vr_of(tag, context)
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
        self, data: bytes, position: int, stop: int, context: Context, implicit: bool, delimited: bool, depth: int
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
        self, data: bytes, position: int, length: int, stop: int, context: Context, depth: int
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
                text, position = self.element(data, position, end, context, depth)
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
                context = noted(tag, data[start + header_length : position], context)
        if length == UNDEFINED:
            raise ShortError
        return "{" + ",".join(out) + "}", position


def check_kept(header: Header) -> None:
    """Refuse a header that is too long to be kept.

    Raises:
        HeaderError: `unreadable`.
    """
    kept = header.size - sum(hole.length for hole in header.holes)
    if kept > KEPT_LIMIT:
        raise HeaderError("unreadable", f"a header of {kept >> 20} MiB, which is more than {KEPT_LIMIT >> 20}")
