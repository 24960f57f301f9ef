"""A second reader of DICOM files, for the checks only: what the engine's reader takes for granted is read here anew.

It shares no code with `sluice.deid.elements`, so an error there does not hide itself. It gives every element of
every depth as bytes with the character sets that hold where it stands, and says how far it could read.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from functools import lru_cache

from pydicom._dicom_dict import DicomDictionary
from pydicom.charset import convert_encodings, decode_bytes

IMPLICIT, DEFLATED, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
SHORT_VRS = frozenset((b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN",
                       b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"))  # fmt: skip
BY_CHARACTER_SET = frozenset(("SH", "LO", "ST", "LT", "UC", "UT", "PN"))
UNDEFINED, DEEPEST, MOST_INFLATED = 0xFFFFFFFF, 40, 1 << 29
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_DATA, CHARACTER_SET, TRANSFER_SYNTAX = 0x7FE00010, 0x00080005, 0x00020010
ITEM_START = b"\xfe\xff\x00\xe0"
ESCAPE = b"\x1b"


class RereadError(ValueError):
    """The bytes cannot be read; the message never holds a value."""


@dataclass(slots=True)
class Found:
    """One element.

    Attributes:
        path: tags from the outermost sequence inwards.
        item: which item of each sequence on the way, counted from 0, in one tuple with one number less than `path`.
        vr: as encoded, else by the dictionary; `SQ` has no `data`.
        data: as encoded.
        character_sets: values of Specific Character Set that hold here.
        items: of a sequence, how many.
    """

    path: tuple[int, ...]
    item: tuple[int, ...]
    vr: str
    data: bytes
    character_sets: str
    items: int = 0

    @property
    def tag(self) -> int:
        """The element's own tag."""
        return self.path[-1]

    def text(self) -> str:
        """The value as text, decoded by the character sets that hold for it; several values stay as one text."""
        if self.vr not in BY_CHARACTER_SET or (self.data.isascii() and ESCAPE not in self.data):
            return self.data.decode("latin-1").strip(" \0")
        return decoded(self.data, self.character_sets, self.vr == "PN").strip(" \0")


@dataclass(slots=True)
class Reread:
    """A file as it was read.

    Attributes:
        preamble: the first 128 bytes, or nothing.
        meta, elements: in the order of the file; an element of a sequence follows the sequence.
        rest: bytes behind the last element that are no element.
        pixels: where the value of Pixel Data begins and ends in the data set, None without.
    """

    preamble: bytes
    syntax: str
    meta: list[Found]
    elements: list[Found]
    rest: bytes = b""
    pixels: tuple[int, int] | None = None
    body: bytes = field(default=b"", repr=False)


@lru_cache(maxsize=4096)
def decoded(data: bytes, character_sets: str, name: bool = False) -> str:
    """Bytes by Specific Character Set as text, each value by itself (PS3.5 6.1.2.5.3: code extensions end there)."""
    encodings = _encodings(character_sets)
    delimiters = set(b"\\^=" if name else b"\\\n\r\f\t")
    try:
        return str(decode_bytes(data, list(encodings), delimiters))
    except (LookupError, UnicodeError, ValueError):
        return data.decode("latin-1")


@lru_cache(maxsize=256)
def _encodings(character_sets: str) -> tuple[str, ...]:
    try:
        return tuple(convert_encodings([part.strip() for part in character_sets.split("\\")]))
    except (LookupError, ValueError):
        return ("iso8859",)


def reread(data: bytes) -> Reread:
    """Read a DICOM file.

    Raises:
        RereadError: it is no DICOM file, or damaged before its pixels.
    """
    preamble, position = (data[:128], 132) if data[128:132] == b"DICM" else (b"", 0)
    meta: list[Found] = []
    reader = _Reader(data, True, True)
    while data[position : position + 2] == b"\x02\x00":
        position = reader.element(position, len(data), (), (), "", meta)
    syntax = next((one.text() for one in meta if one.tag == TRANSFER_SYNTAX), "")
    body = data[position:]
    if syntax == DEFLATED:
        body = _inflated(body)
    explicit = body[4:6] in LONG_VRS | SHORT_VRS if not syntax else syntax != IMPLICIT
    reader = _Reader(body, explicit, syntax != BIG)
    elements: list[Found] = []
    rest = reader.all(elements)
    return Reread(preamble, syntax or IMPLICIT, meta, elements, rest, reader.pixels, body)


def _inflated(body: bytes) -> bytes:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = stream.decompress(body, MOST_INFLATED)
    except zlib.error as error:
        raise RereadError("the deflated data set is damaged") from error
    if stream.unconsumed_tail:
        raise RereadError("the deflated data set is too large")
    return inflated


class _Reader:
    def __init__(self, data: bytes, explicit: bool, little: bool) -> None:
        self.data = data
        self.explicit = explicit
        order = "<" if little else ">"
        self.tag_of = struct.Struct(order + "HH").unpack_from
        self.short_of = struct.Struct(order + "H").unpack_from
        self.long_of = struct.Struct(order + "L").unpack_from
        self.pixels: tuple[int, int] | None = None

    def all(self, into: list[Found]) -> bytes:
        """Every element; what stands behind the pixels and is none is given back."""
        position, end, sets = 0, len(self.data), ""
        while position < end:
            before = len(into)
            try:
                position = self.element(position, end, (), (), sets, into)
            except (RereadError, struct.error):
                if self.pixels is None:
                    raise RereadError("damaged before its pixels") from None
                del into[before:]
                return self.data[position:]
            if into[before].path[0] == CHARACTER_SET:
                sets = into[before].data.decode("latin-1").strip(" \0")
        return b""

    def element(
        self, position: int, end: int, path: tuple[int, ...], item: tuple[int, ...], sets: str, into: list[Found]
    ) -> int:
        """Read the element at `position`; return where the next one begins."""
        data = self.data
        group, number = self.tag_of(data, position)
        tag = group << 16 | number
        if self.explicit:
            code = data[position + 4 : position + 6]
            if code in SHORT_VRS:
                length, position = int(self.short_of(data, position + 6)[0]), position + 8
            elif code in LONG_VRS:
                length, position = int(self.long_of(data, position + 8)[0]), position + 12
            else:
                raise RereadError("an unknown VR")
            vr = code.decode()
        else:
            vr = _vr_of(tag)
            length, position = int(self.long_of(data, position + 4)[0]), position + 8
        here = (*path, tag)
        if length == UNDEFINED:
            return self._undefined(vr, position, end, here, item, sets, into)
        stop = position + length
        if stop > end:
            raise RereadError("an element is longer than what holds it")
        nested = vr == "SQ" or (vr == "UN" and data.startswith(ITEM_START, position))
        if nested and self._nested(vr, position, stop, here, item, sets, into):
            return stop
        if tag == PIXEL_DATA and not path:
            self.pixels = (position, stop)
            into.append(Found(here, item, vr, b"", sets))
        else:
            into.append(Found(here, item, vr, data[position:stop], sets))
        return stop

    def _nested(
        self, vr: str, position: int, stop: int, here: tuple[int, ...], item: tuple[int, ...], sets: str,
        into: list[Found],
    ) -> bool:  # fmt: skip
        """Items of defined length; False where a value of VR UN only looks like items."""
        reader = self if vr == "SQ" else _Reader(self.data, False, True)  # PS3.5 6.2.2 note 5
        before = len(into)
        sequence = Found(here, item, "SQ", b"", sets)
        into.append(sequence)
        try:
            reader._items(position, stop, here, item, sets, into, sequence)
        except (RereadError, struct.error):
            if vr == "SQ":
                raise
            del into[before:]
            return False
        return True

    def _undefined(
        self, vr: str, position: int, end: int, here: tuple[int, ...], item: tuple[int, ...], sets: str,
        into: list[Found],
    ) -> int:  # fmt: skip
        if here[-1] == PIXEL_DATA and vr != "SQ":
            stop = self._fragments_end(position, end)
            if len(here) == 1:
                self.pixels = (position, stop)
            into.append(Found(here, item, vr, b"", sets))
            return stop
        reader = _Reader(self.data, False, True) if vr == "UN" and self.explicit else self
        sequence = Found(here, item, "SQ", b"", sets)
        into.append(sequence)
        return reader._items(position, end, here, item, sets, into, sequence, delimited=True)

    def _items(
        self, position: int, end: int, here: tuple[int, ...], item: tuple[int, ...], sets: str, into: list[Found],
        sequence: Found, delimited: bool = False,
    ) -> int:  # fmt: skip
        if len(here) > DEEPEST:
            raise RereadError("nested too deep")
        while position < end:
            group, number = self.tag_of(self.data, position)
            tag, length = group << 16 | number, self.long_of(self.data, position + 4)[0]
            position += 8
            if tag == SEQUENCE_END and delimited:
                return position
            if tag != ITEM:
                raise RereadError("a sequence holds what is no item")
            stop = end if length == UNDEFINED else position + length
            if stop > end:
                raise RereadError("an item is longer than its sequence")
            position = self._item(position, stop, length, here, (*item, sequence.items), sets, into)
            sequence.items += 1
        if delimited:
            raise RereadError("a sequence has no end")
        return position

    def _item(
        self, position: int, stop: int, length: int, here: tuple[int, ...], item: tuple[int, ...], sets: str,
        into: list[Found],
    ) -> int:  # fmt: skip
        while position < stop:
            if length == UNDEFINED:
                group, number = self.tag_of(self.data, position)
                if group << 16 | number == ITEM_END:
                    return position + 8
            before = len(into)
            position = self.element(position, stop, here, item, sets, into)
            if into[before].tag == CHARACTER_SET:
                sets = into[before].data.decode("latin-1").strip(" \0")
        if length == UNDEFINED:
            raise RereadError("an item has no end")
        return position

    def _fragments_end(self, position: int, end: int) -> int:
        while position + 8 <= end:
            group, number = self.tag_of(self.data, position)
            length = self.long_of(self.data, position + 4)[0]
            position += 8
            if group << 16 | number == SEQUENCE_END:
                return position
            position += length
        raise RereadError("the encapsulated pixels have no end")


@lru_cache(maxsize=8192)
def _vr_of(tag: int) -> str:
    entry = DicomDictionary.get(tag)
    if entry:
        return str(entry[0])
    if tag & 0xFFFF == 0:
        return "UL"
    return "LO" if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
