"""The header of an odd file, by pydicom: big endian, no preamble, unknown VRs, encodings that change inside.

Slow and forgiving. Values are judged element by element, so one broken element costs itself and no other. pydicom keeps
what it reads, a hundred bytes of objects for each byte in the worst case, so what it may read has limits.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from base64 import b64encode
from collections.abc import Iterable
from io import BytesIO
from typing import Any, BinaryIO

import pydicom
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from sluice.headers.header import Header, Hole
from sluice.headers.kept import bytes_outside
from sluice.headers.parser import CHUNK, DEEPEST, PIXEL_DATA, check_kept
from sluice.headers.pixels import pixel_pieces
from sluice.headers.source import DEFLATED_LITTLE, UNDEFINED, File, HeaderError, Memory, OddError, file_meta, inflate
from sluice.headers.values import BINARY_LIMIT, TEXT_LIMIT

Json = dict[str, Any]

MOST_BYTES = 512 << 20  # of a file, its pixels among them; they stand in memory
MOST_READS = 500_000  # pieces that pydicom reads a file in, two for each element
MOST_SEQUENCE_BYTES = 4 << 20  # of all sequences of known length, which are taken apart in memory
MOST_ITEMS = 100_000  # of one of them
ITEM_STARTS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")  # (FFFE,E000) by either byte order
HEAD_BYTES = 64 << 10
BULK_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW"})


class _Sparing:
    """A file that lets itself be read in no more than `MOST_READS` pieces."""

    def __init__(self, file: BinaryIO) -> None:
        self.name = getattr(file, "name", "")
        self.seek, self.tell, self.close = file.seek, file.tell, file.close
        self._file = file
        self._reads = 0

    def read(self, size: int = -1) -> bytes:
        self._reads += 1
        if self._reads > MOST_READS:
            raise HeaderError("unreadable", f"an odd file of more than {MOST_READS // 2} elements")
        return self._file.read(size)


def read_leniently(path: str | os.PathLike[str]) -> Header:
    """The header of a file as pydicom reads it; see `sluice.headers.parser.HeaderParser.read` for what is raised."""
    with open(path, "rb") as file:
        return _read(file, File(os.fstat(file.fileno()).st_size, file.fileno()))


def read_leniently_from(kept: File) -> Header:
    """The same from what is kept of a file."""
    return _read(BytesIO(kept.at(0, kept.size)), kept)


def _read(stream: BinaryIO, file: File) -> Header:
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        _check_size(stream, file.size)
        try:
            dataset = pydicom.dcmread(_Sparing(stream), force=True)
        except HeaderError:
            raise
        except Exception as error:  # hostile bytes raise nearly anything
            if isinstance(error, OSError | EOFError):  # pydicom's own: it looked for more bytes
                raise HeaderError("truncated", "the file ends inside a sequence") from None
            raise HeaderError("unreadable", f"not readable as DICOM ({type(error).__name__})") from None
        if not any(tag in dataset for tag in (0x00080018, 0x00080016, 0x0020000D)):
            raise HeaderError("unreadable", "not a DICOM data set: no SOP Instance, SOP Class or Study Instance UID")
        syntax = str(getattr(dataset, "file_meta", Dataset()).get("TransferSyntaxUID", "") or _guess(dataset))
        header = Header(syntax, file.size, lenient=True)
        room = _Room()
        for tag in dataset.keys():  # noqa: SIM118 - a Dataset's own iteration converts every element
            if not tag & 0xFFFF or tag >> 16 == 0xFFFE:
                continue
            raw: DataElement | RawDataElement = dataset.get_item(tag)
            _check_length(tag, raw, file.size)
            if syntax != DEFLATED_LITTLE:  # whose places are not those of the file
                _note_hole(tag, raw, header)
            if tag == PIXEL_DATA:
                value = raw.value if isinstance(raw.value, bytes) else b""
                header.pixel_bytes, header.pixel_pieces = len(value), pixel_pieces(Memory(value), 0, len(value))
            try:
                header.tail[int(tag)] = _dumps(tag, _element(dataset, tag, 0, room))
            except RecursionError:
                raise HeaderError("unreadable", f"sequences are nested more than {DEEPEST} deep") from None
        header.holes.sort(key=lambda hole: hole.offset)
        check_kept(header)
        header.kept = bytes_outside(file, header.holes, b"")
        return header


def _check_length(tag: int, raw: DataElement | RawDataElement, size: int) -> None:
    if isinstance(raw, RawDataElement) and raw.length != UNDEFINED and len(raw.value or b"") < raw.length:
        raise HeaderError(
            "truncated",
            f"the file ends at byte {size} inside element ({tag >> 16:04X},{tag & 0xFFFF:04X}), "
            f"which wants {raw.length} bytes",
        )


def _note_hole(tag: int, raw: DataElement | RawDataElement, header: Header) -> None:
    """Leave out pixels and long binary values of known place."""
    if not isinstance(raw, RawDataElement) or not raw.value:
        return
    length = len(raw.value)
    is_chain = raw.length == UNDEFINED  # maybe an odd one: a short one stays, for pydicom to judge again
    if (tag == PIXEL_DATA and not is_chain) or (length > CHUNK and raw.VR in BULK_VRS):
        header.holes.append(Hole(raw.value_tell, length))


def _check_size(file: BinaryIO, size: int) -> None:
    """Refuse what would fill the memory: a file as a whole, or what a deflated one becomes."""
    if size > MOST_BYTES:
        raise HeaderError("unreadable", f"odd, and larger than {MOST_BYTES >> 20} MiB: {size} bytes")
    head = file.read(HEAD_BYTES)
    if DEFLATED_LITTLE.encode() in head:
        try:
            syntax, start = file_meta(head)
        except OddError:
            raise HeaderError("unreadable", "deflated, behind file meta information that cannot be read") from None
        if syntax == DEFLATED_LITTLE:
            file.seek(start)
            inflate(file.read())
    file.seek(0)


class _Room:
    """How many more bytes of sequences of known length may become objects."""

    def __init__(self) -> None:
        self._left = MOST_SEQUENCE_BYTES

    def takes(self, raw: DataElement | RawDataElement | None) -> bool:
        """Whether a value may be taken apart; what is no sequence needs no room."""
        value = raw.value if isinstance(raw, RawDataElement) else None
        if not isinstance(value, bytes) or raw is None or raw.VR not in ("SQ", "UN", None):
            return True
        items = max(value.count(start) for start in ITEM_STARTS)
        if not items:
            return True
        self._left -= len(value)
        return self._left >= 0 and items <= MOST_ITEMS


def _guess(dataset: Dataset) -> str:
    implicit, little = dataset.original_encoding
    return ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _dumps(tag: int, element: Json) -> str:
    return f'"{tag:08X}":{json.dumps(element, ensure_ascii=False, separators=(",", ":"))}'


def _dataset(dataset: Dataset, depth: int, room: _Room | None) -> Json:
    if depth > DEEPEST:
        raise RecursionError
    return {f"{tag:08X}": _element(dataset, tag, depth, room) for tag in dataset.keys() if tag & 0xFFFF}  # noqa: SIM118


def _element(dataset: Dataset, tag: int, depth: int, room: _Room | None) -> Json:
    """One element; `room` is None within a sequence that has been given its room."""
    raw = dataset.get_item(tag)
    if room is not None and not room.takes(raw):
        return {"vr": str(raw.VR or "UN"), **_left_out(len(raw.value), None)}
    try:
        element = dataset[tag]
    except RecursionError:
        raise
    except Exception:  # what pydicom cannot convert is kept as bytes
        value = getattr(raw, "value", None)
        return {"vr": "UN", **(_binary(value) if isinstance(value, bytes) and value else {})}
    if element.VR == "SQ":
        inner = None if isinstance(raw, RawDataElement) else room  # pydicom took one of unknown length apart already
        items = [_dataset(item, depth + 1, inner) for item in element.value or ()]
        return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
    return _plain(element)


def _plain(element: DataElement) -> Json:
    vr, value = str(element.VR), element.value
    if vr not in pydicom.valuerep.STANDARD_VR:
        vr = {"US or SS": "US"}.get(vr, "OW") if " or " in vr else "UN"
    if element.is_empty:
        return {"vr": vr}
    if isinstance(value, bytes):
        return {"vr": vr if vr.startswith("O") else "UN", **_binary(value)}
    many = (
        value if isinstance(value, Iterable) and not isinstance(value, str | pydicom.valuerep.PersonName) else [value]
    )
    values = [_value(vr, item) for item in many]
    if len(json.dumps(values)) > TEXT_LIMIT:
        return {"vr": vr, **_left_out(len(json.dumps(values)), None)}
    return {"vr": vr, "Value": values} if values != [None] else {"vr": vr}


def _value(vr: str, item: Any) -> Any:
    if vr == "PN":
        groups = dict(zip(("Alphabetic", "Ideographic", "Phonetic"), map(_text, item.components), strict=False))
        return {key: group for key, group in groups.items() if group} or None
    if vr == "AT":
        return f"{int(item):08X}"
    if isinstance(item, str):
        return _text(item) or None
    if isinstance(item, int) or (isinstance(item, float) and math.isfinite(item)):
        return int(item) if isinstance(item, int) else float(item)
    if isinstance(item, float):
        return "NaN" if item != item else "inf" if item > 0 else "-inf"
    return None if item is None else _text(str(item))


def _text(value: str) -> str:
    return value.replace("\x00", "").rstrip(" ").encode("utf-8", "replace").decode("utf-8")


def _binary(value: bytes) -> Json:
    if len(value) > BINARY_LIMIT:
        return _left_out(len(value), None)
    return {"InlineBinary": b64encode(value).decode("ascii")}


def _left_out(length: int, offset: int | None) -> Json:
    place = f"offset={offset}&" if offset is not None else ""
    return {"BulkDataURI": f"?{place}length={length}"}
