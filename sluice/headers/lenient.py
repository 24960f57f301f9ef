"""The header of an odd file, by pydicom: big endian, no preamble, unknown VRs, encodings that change inside.

Slow and forgiving. Values are judged element by element, so one broken element costs itself and no other.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from base64 import b64encode
from collections.abc import Collection, Iterable
from typing import Any

import pydicom
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from sluice.headers.parser import DEEPEST, PIXEL_DATA, Header
from sluice.headers.source import UNDEFINED, HeaderError
from sluice.headers.values import BINARY_LIMIT, TEXT_LIMIT

Json = dict[str, Any]


def read_leniently(path: str | os.PathLike[str], wanted: Collection[int] = ()) -> Header:
    """The header of a file as pydicom reads it; see `sluice.headers.parser.HeaderParser.read` for what is raised."""
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            try:
                dataset = pydicom.dcmread(file, force=True)
            except Exception as error:  # hostile bytes raise nearly anything
                if isinstance(error, OSError | EOFError):  # pydicom's own: it looked for more bytes
                    raise HeaderError("truncated", "the file ends inside a sequence") from None
                raise HeaderError("unreadable", f"not readable as DICOM ({type(error).__name__})") from None
        if not any(tag in dataset for tag in (0x00080018, 0x00080016, 0x0020000D)):
            raise HeaderError("unreadable", "not a DICOM data set: no SOP Instance, SOP Class or Study Instance UID")
        pixel_bytes = None
        texts: dict[int, str] = {}
        for tag in dataset.keys():  # noqa: SIM118 - a Dataset's own iteration converts every element
            if not tag & 0xFFFF or tag >> 16 == 0xFFFE:
                continue
            raw: DataElement | RawDataElement = dataset.get_item(tag)
            if isinstance(raw, RawDataElement) and raw.length != UNDEFINED and len(raw.value or b"") < raw.length:
                raise HeaderError(
                    "truncated",
                    f"the file ends at byte {size} inside element ({tag >> 16:04X},{tag & 0xFFFF:04X}), "
                    f"which wants {raw.length} bytes",
                )
            if tag == PIXEL_DATA:
                pixel_bytes = len(raw.value or b"")
            try:
                texts[tag] = _dumps(tag, _element(dataset, tag, 0))
            except RecursionError:
                raise HeaderError("unreadable", f"sequences are nested more than {DEEPEST} deep") from None
    syntax = str(getattr(dataset, "file_meta", Dataset()).get("TransferSyntaxUID", "") or _guess(dataset))
    body = "{" + ",".join(texts.values()) + "}"
    return Header(syntax, body, {tag: texts[tag] for tag in wanted if tag in texts}, pixel_bytes, lenient=True)


def _guess(dataset: Dataset) -> str:
    implicit, little = dataset.original_encoding
    return ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _dumps(tag: int, element: Json) -> str:
    return f'"{tag:08X}":{json.dumps(element, ensure_ascii=False, separators=(",", ":"))}'


def _dataset(dataset: Dataset, depth: int) -> Json:
    if depth > DEEPEST:
        raise RecursionError
    return {f"{tag:08X}": _element(dataset, tag, depth) for tag in dataset.keys() if tag & 0xFFFF}  # noqa: SIM118


def _element(dataset: Dataset, tag: int, depth: int) -> Json:
    raw = dataset.get_item(tag)
    try:
        element = dataset[tag]
    except RecursionError:
        raise
    except Exception:  # what pydicom cannot convert is kept as bytes
        value = getattr(raw, "value", None)
        return {"vr": "UN", **(_binary(value) if isinstance(value, bytes) and value else {})}
    if element.VR == "SQ":
        items = [_dataset(item, depth + 1) for item in element.value or ()]
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
