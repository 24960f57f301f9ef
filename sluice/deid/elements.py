"""A DICOM data set as plain elements: read from bytes, written to bytes, without decoding what nobody asks for.

Reading is strict: a length that leaves its parent, a sequence without its delimiter or a nesting deeper than
`MAX_DEPTH` is `MalformedError`. Bytes after the last element are not carried along. What is written is always
little endian with explicit VR (PS3.5 A.2 and A.4), with sequences and items of defined length.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

from pydicom._dicom_dict import DicomDictionary

from sluice.deid.tables import table

MAX_DEPTH = 32
MAX_INFLATED = 256 << 20  # as much as its header was read from
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_DATA = 0x7FE00010
IMPLICIT, DEFLATED, BIG_ENDIAN, EXPLICIT = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1",
)
LONG = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"])
SHORT = frozenset(
    [
        "AE",
        "AS",
        "AT",
        "CS",
        "DA",
        "DS",
        "DT",
        "FD",
        "FL",
        "IS",
        "LO",
        "LT",
        "PN",
        "SH",
        "SL",
        "SS",
        "ST",
        "TM",
        "UI",
        "UL",
        "US",
    ]
)
CODES = {vr.encode(): vr for vr in LONG | SHORT}
WIDTH = {"US": 2, "SS": 2, "OW": 2, "AT": 2, "UL": 4, "SL": 4, "FL": 4, "OF": 4, "OL": 4,
         "FD": 8, "OD": 8, "SV": 8, "UV": 8, "OV": 8}  # fmt: skip


class MalformedError(ValueError):
    """The bytes are no data set; the message names the place, never a value."""


@dataclass(slots=True)
class Element:
    """One element.

    Attributes:
        tag: group << 16 | element.
        vr: as encoded; by the dictionary where the encoding has none; `SQ` wherever items were found.
        value: bytes in little endian, or items, or (encapsulated pixel data) fragments.
    """

    tag: int
    vr: str
    value: Value


Items: TypeAlias = list["DataSet"]
DataSet: TypeAlias = dict[int, Element]


@dataclass(slots=True)
class Fragments:
    """Encapsulated pixel data: fragments without the Basic Offset Table (PS3.5 A.4)."""

    parts: list[bytes]


Value: TypeAlias = bytes | Items | Fragments


@dataclass(slots=True)
class File:
    """A DICOM file: its transfer syntax, the SOP Class its meta names, its data set."""

    transfer_syntax: str
    media_sop_class: str
    elements: DataSet


@cache
def _vrs() -> dict[int, str]:
    known = {tag: str(entry[0]) for tag, entry in DicomDictionary.items()}
    for row in table("basic_profile"):
        if "x" not in row["tag"] and row["tag"] != "odd":
            known.setdefault(int(row["tag"], 16), row["vr"])
    return known


def dictionary_vr(tag: int) -> str | None:
    """VR by the dictionary (`US or SS` and the like where it depends), None for what it does not know."""
    return _vrs().get(tag)


def read_file(data: bytes) -> File:
    """Read a DICOM file (PS3.10), with or without preamble and file meta.

    Raises:
        MalformedError: it is no DICOM file, or it is damaged.
    """
    position = 132 if data[128:132] == b"DICM" else 0
    if position == 0 and data[:2] not in (b"\x02\x00", b"\x08\x00"):
        raise MalformedError("no DICM prefix and no data set at the start")
    meta, position = _read_meta(data, position)
    syntax = _uid(meta.get(0x00020010)) or IMPLICIT
    body = data[position:] if position else data
    if syntax == DEFLATED:
        body = _inflate(body)
    explicit, little = syntax != IMPLICIT, syntax != BIG_ENDIAN
    if not meta and body[4:6].isalpha() and body[4:6].decode("latin-1") in LONG | SHORT:
        explicit, syntax = True, EXPLICIT  # a bare data set that plainly shows its VRs
    elements = _Reader(body, explicit, little).read_all()
    return File(syntax, _uid(meta.get(0x00020002)), elements)


def read_items(data: bytes) -> Items | None:
    """Items of a sequence that was encoded as UN (implicit VR little endian, PS3.5 6.2.2); None where it is none."""
    if data[:4] != b"\xfe\xff\x00\xe0":
        return None
    try:
        return _Reader(data, explicit=False, little=True).items(0, len(data), 1)[0]
    except MalformedError:
        return None


def write_file(file_meta: DataSet, elements: DataSet) -> bytes:
    """A DICOM file: zero preamble, file meta with its group length, data set."""
    meta = write_elements(file_meta)
    length = struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(meta))
    return b"\0" * 128 + b"DICM" + length + meta + write_elements(elements)


def write_elements(elements: DataSet) -> bytes:
    """Elements in tag order, explicit VR little endian."""
    return b"".join(_written(elements))


def walk(elements: DataSet, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Element]]:
    """Every element at every depth with its path of tags."""
    for tag, element in elements.items():
        yield (*path, tag), element
        if isinstance(element.value, list):
            for item in element.value:
                yield from walk(item, (*path, tag))


def _written(elements: DataSet) -> Iterable[bytes]:
    for tag in sorted(elements):
        element = elements[tag]
        vr, value = element.vr, element.value
        group, number = tag >> 16, tag & 0xFFFF
        if isinstance(value, Fragments):
            yield struct.pack("<HH2sHL", group, number, b"OB", 0, UNDEFINED) + struct.pack("<LL", 0xE000FFFE, 0)
            for part in value.parts:
                padded = part + b"\0" * (len(part) % 2)
                yield struct.pack("<LL", 0xE000FFFE, len(padded)) + padded
            yield struct.pack("<LL", 0xE0DDFFFE, 0)
            continue
        if isinstance(value, list):
            encoded = b"".join(struct.pack("<LL", 0xE000FFFE, len(item)) + item for item in map(write_elements, value))
            vr = "SQ"
        else:
            encoded = value if len(value) % 2 == 0 else value + (b"\0" if vr in ("UI", "OB", "UN") else b" ")
        if vr in LONG:
            yield struct.pack("<HH2sHL", group, number, vr.encode(), 0, len(encoded)) + encoded
        elif len(encoded) > 0xFFFF:
            yield struct.pack("<HH2sHL", group, number, b"UN", 0, len(encoded)) + encoded  # PS3.5 6.2.2 note 2
        else:
            yield struct.pack("<HH2sH", group, number, vr.encode(), len(encoded)) + encoded


def _uid(element: Element | None) -> str:
    if element is None or not isinstance(element.value, bytes):
        return ""
    return element.value.decode("latin-1").strip(" \0")


def _inflate(body: bytes) -> bytes:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = stream.decompress(body, MAX_INFLATED)
    except zlib.error as error:
        raise MalformedError("deflated data set is damaged") from error
    if stream.unconsumed_tail:
        raise MalformedError("deflated data set is larger than 256 MiB")
    return data


def _read_meta(data: bytes, position: int) -> tuple[DataSet, int]:
    reader = _Reader(data, explicit=True, little=True)
    meta: DataSet = {}
    while data[position : position + 2] == b"\x02\x00":
        element, position = reader.element(position, len(data), 0)
        meta[element.tag] = element
    return meta, position


class _Reader:
    """Elements out of one buffer in one encoding."""

    def __init__(self, data: bytes, explicit: bool, little: bool) -> None:
        self.data = data
        self.explicit = explicit
        self.little = little
        order = "<" if little else ">"
        self.tag_format = struct.Struct(order + "HH")
        self.header = struct.Struct(order + "HH2sH")  # of an element with explicit VR
        self.long = struct.Struct(order + "L")
        self.vrs = _vrs()

    def read_all(self) -> DataSet:
        elements: DataSet = {}
        position, end = 0, len(self.data)
        while position + 8 <= end:
            try:
                element, position = self.element(position, end, 0)
            except MalformedError:
                if PIXEL_DATA in elements:
                    break  # bytes behind the image that are no element: they go, the image is whole
                raise
            elements[element.tag] = element
        return elements

    def tag(self, position: int) -> int:
        try:
            group, number = self.tag_format.unpack_from(self.data, position)
        except struct.error as error:
            raise MalformedError("ends within a tag") from error
        return int(group) << 16 | int(number)

    def length(self, position: int) -> int:
        try:
            return int(self.long.unpack_from(self.data, position)[0])
        except struct.error as error:
            raise MalformedError("ends within a length") from error

    def element(self, position: int, end: int, depth: int) -> tuple[Element, int]:
        if self.explicit:
            try:
                group, number, code, length = self.header.unpack_from(self.data, position)
            except struct.error as error:
                raise MalformedError("ends within a tag") from error
            tag, vr = group << 16 | number, CODES.get(code)
            if vr is None:
                raise MalformedError(f"{_name(tag)} has an unknown VR")
            if vr in LONG:
                length = self.length(position + 8)
                position += 12
            elif position + 8 > end:
                raise MalformedError(f"{_name(tag)} ends within its length")
            else:
                position += 8
        else:
            tag = self.tag(position)
            known = self.vrs.get(tag)
            vr = known or ("LO" if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF else "UN")
            length = self.length(position + 4)
            position += 8
        if length == UNDEFINED:
            return self._undefined(tag, vr, position, end, depth)
        if position + length > end:
            raise MalformedError(f"{_name(tag)} is longer than what holds it")
        if vr == "SQ":
            return Element(tag, vr, self.items(position, position + length, depth + 1)[0]), position + length
        value = self.data[position : position + length]
        if not self.little:
            value = _swapped(value, vr)
        return Element(tag, vr, value), position + length

    def _undefined(self, tag: int, vr: str, position: int, end: int, depth: int) -> tuple[Element, int]:
        if tag == PIXEL_DATA and vr != "SQ":
            return self._fragments(position, end)
        if vr == "UN" and self.explicit:  # PS3.5 6.2.2 note 4: its content is implicit VR little endian
            items, position = _Reader(self.data, False, True).items(position, end, depth + 1, delimited=True)
        else:
            items, position = self.items(position, end, depth + 1, delimited=True)
        return Element(tag, "SQ", items), position

    def items(self, position: int, end: int, depth: int, delimited: bool = False) -> tuple[Items, int]:
        if depth > MAX_DEPTH:
            raise MalformedError(f"nested deeper than {MAX_DEPTH}")
        found: Items = []
        while position < end:
            tag, length = self.tag(position), self.length(position + 4)
            position += 8
            if tag == SEQUENCE_END and delimited:
                return found, position
            if tag != ITEM:
                raise MalformedError("a sequence holds something that is no item")
            if length != UNDEFINED and position + length > end:
                raise MalformedError("an item is longer than its sequence")
            item, position = self._item(position, end if length == UNDEFINED else position + length, length, depth)
            found.append(item)
        if delimited:
            raise MalformedError("a sequence has no end")
        return found, position

    def _item(self, position: int, end: int, length: int, depth: int) -> tuple[DataSet, int]:
        item: DataSet = {}
        while position < end:
            if length == UNDEFINED and self.tag(position) == ITEM_END:
                return item, position + 8
            element, position = self.element(position, end, depth)
            item[element.tag] = element
        if length == UNDEFINED:
            raise MalformedError("an item has no end")
        return item, position

    def _fragments(self, position: int, end: int) -> tuple[Element, int]:
        parts: list[bytes] = []
        while True:
            tag, length = self.tag(position), self.length(position + 4)
            position += 8
            if tag == SEQUENCE_END:
                return Element(PIXEL_DATA, "OB", Fragments(parts[1:])), position
            if tag != ITEM or length > end - position:
                raise MalformedError("encapsulated pixel data is damaged")
            parts.append(self.data[position : position + length])
            position += length


def _swapped(value: bytes, vr: str) -> bytes:
    width = WIDTH.get(vr, 1)
    if width == 1:
        return value
    if len(value) % width:
        raise MalformedError(f"a {vr} value has a broken length")
    swapped = bytearray(len(value))
    for byte in range(width):
        swapped[byte::width] = value[width - 1 - byte :: width]
    return bytes(swapped)


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
