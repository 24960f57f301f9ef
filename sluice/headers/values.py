"""One element's value as DICOM JSON text (PS3.18 Annex F).

The text is written directly, without building Python objects first, because a CT header has some 260
elements and there are millions of them. What differs from a literal reading of the standard, and why:

- Decimal and integer strings that are JSON numbers are copied digit by digit, so `1.500` stays `1.500`;
  others (`+1`, `.5`, `007`) are normalised, and what is no number at all stays a string (Table F.2.3-1
  allows both).
- NaN and infinities are the strings `NaN`, `inf`, `-inf`, since JSON has no number for them.
- U+0000 is dropped, because Postgres' jsonb cannot hold it.
- A value whose length does not fit its VR is kept as `UN` with its bytes.
- What is longer than `BINARY_LIMIT` or `TEXT_LIMIT` is left out and becomes
  `"BulkDataURI": "?offset=…&length=…"`: where it stands in the file, in bytes.
"""

from __future__ import annotations

import re
import struct
from base64 import b64encode
from collections.abc import Callable
from functools import lru_cache
from json.encoder import encode_basestring as quote
from math import isfinite

from pydicom.charset import CODES_TO_ENCODINGS, convert_encodings, decode_bytes, default_encoding, python_encoding
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

BINARY_LIMIT = 4 << 10
TEXT_LIMIT = 64 << 10

BINARY_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"UN"})
NUMBER_FORMATS = {b"US": "H", b"SS": "h", b"UL": "I", b"SL": "i", b"UV": "Q", b"SV": "q", b"FL": "f", b"FD": "d"}
LATIN_VRS = frozenset({b"AE", b"AS", b"CS", b"DA", b"DT", b"TM", b"UI"})
LUT_DESCRIPTORS = frozenset({0x00281101, 0x00281102, 0x00281103, 0x00283002})

# Latin-9, which PS3.3 C.12.1.1.2 took up after pydicom made its tables
python_encoding.update({"ISO_IR 203": "iso8859_15", "ISO 2022 IR 203": "iso8859_15"})
CODES_TO_ENCODINGS[b"\x1b-b"] = "iso8859_15"

Encodings = tuple[str, ...]
NAME_DELIMITERS = TEXT_VR_DELIMS | PN_DELIMS
LATIN: Encodings = (default_encoding,)

_JSON_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,300})").fullmatch
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,300})(?:\.[0-9]{1,300})?(?:[eE][+-]?[0-9]{1,2})?").fullmatch
_LOOSE_INTEGER = re.compile(r"[+-]?[0-9]{1,300}").fullmatch
_LOOSE_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,300}\.?[0-9]{0,300}|\.[0-9]{1,300})(?:[eE][+-]?[0-9]{1,3})?").fullmatch
_KNOWN_ENCODINGS = frozenset(python_encoding.values())


class WrongLengthError(ValueError):
    """The value's length does not fit its VR."""


@lru_cache(maxsize=256)
def encodings_of(specific_character_set: bytes) -> Encodings:
    """Python codecs for the value of (0008,0005), PS3.3 C.12.1.1.2; what is unknown is read as Latin-1."""
    terms = [term.strip(" \x00") for term in specific_character_set.decode("latin-1").split("\\")]
    found: list[str] = convert_encodings(terms)
    # a codec's own name is tolerated by pydicom; `unicode_escape` and the like would be a way to smuggle text in
    return tuple(name if name in _KNOWN_ENCODINGS else default_encoding for name in found)


def text(value: bytes, encodings: Encodings, delimiters: set[int] = TEXT_VR_DELIMS) -> str:
    """Decoded text without U+0000."""
    if b"\x1b" not in value:
        decoded = value.decode("ascii" if value.isascii() else encodings[0], "replace")
    else:
        decoded = decode_bytes(value, encodings, delimiters)
        if "\x1b" in decoded:  # pydicom leaves the escape of ISO 2022 IR 58 to a codec that does not know it
            decoded = decoded.replace("\x1b$)A", "")
    return decoded.replace("\x00", "") if "\x00" in decoded else decoded


def _strings(value: bytes, encodings: Encodings) -> str:
    return _joined(text(value, encodings).split("\\"))


def _latin_strings(value: bytes, encodings: Encodings) -> str:
    decoded = value.decode("latin-1")
    if "\x00" in decoded:
        decoded = decoded.replace("\x00", "")
    if "\\" not in decoded:
        return quote(decoded.rstrip(" "))
    return _joined(decoded.split("\\"))


def _joined(items: list[str]) -> str:
    return ",".join([quote(item) if (item := raw.rstrip(" ")) else "null" for raw in items])


def _single_string(value: bytes, encodings: Encodings) -> str:
    return quote(text(value, encodings).rstrip(" "))


def _uri(value: bytes, encodings: Encodings) -> str:
    return quote(value.decode("latin-1").replace("\x00", "").rstrip())


def _person_names(value: bytes, encodings: Encodings) -> str:
    return ",".join([_person_name(name) for name in text(value, encodings, NAME_DELIMITERS).split("\\")])


def _person_name(name: str) -> str:
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), name.split("=", 2), strict=False)
    parts = [f'"{key}":{quote(group)}' for key, raw in groups if (group := raw.rstrip(" "))]
    return "{" + ",".join(parts) + "}" if parts else "null"


def _decimal_strings(value: bytes, encodings: Encodings) -> str:
    return ",".join([_decimal(item) for item in _numeric_items(value)])


def _decimal(item: str) -> str:
    if _JSON_NUMBER(item):
        return item
    if not item:
        return "null"
    if _LOOSE_NUMBER(item):
        number = float(item)
        if isfinite(number):
            return repr(number)
    return quote(item)


def _integer_strings(value: bytes, encodings: Encodings) -> str:
    return ",".join([_integer(item) for item in _numeric_items(value)])


def _integer(item: str) -> str:
    if _JSON_INTEGER(item):
        return item
    if not item:
        return "null"
    return str(int(item)) if _LOOSE_INTEGER(item) else quote(item)


def _numeric_items(value: bytes) -> list[str]:
    return [item.strip(" \x00").replace("\x00", "") for item in value.decode("latin-1").split("\\")]


def _tags(value: bytes, encodings: Encodings) -> str:
    if len(value) % 4:
        raise WrongLengthError
    words = struct.unpack(f"<{len(value) // 2}H", value)
    return ",".join([f'"{words[i]:04X}{words[i + 1]:04X}"' for i in range(0, len(words), 2)])


def _numbers(letter: str) -> Callable[[bytes, Encodings], str]:
    size = struct.calcsize(letter)

    def write(value: bytes, encodings: Encodings) -> str:
        count, rest = divmod(len(value), size)
        if rest:
            raise WrongLengthError
        return ",".join(map(str, struct.unpack(f"<{count}{letter}", value)))

    def write_floats(value: bytes, encodings: Encodings) -> str:
        count, rest = divmod(len(value), size)
        if rest:
            raise WrongLengthError
        return ",".join([_float(number) for number in struct.unpack(f"<{count}{letter}", value)])

    return write_floats if letter in "fd" else write


def _float(number: float) -> str:
    if isfinite(number):
        return repr(number)
    return '"NaN"' if number != number else '"inf"' if number > 0 else '"-inf"'


WRITERS: dict[bytes, Callable[[bytes, Encodings], str]] = {
    **dict.fromkeys(LATIN_VRS, _latin_strings),
    **dict.fromkeys((b"LO", b"SH", b"UC"), _strings),
    **dict.fromkeys((b"LT", b"ST", b"UT"), _single_string),
    **{vr: _numbers(letter) for vr, letter in NUMBER_FORMATS.items()},
    b"AT": _tags,
    b"DS": _decimal_strings,
    b"IS": _integer_strings,
    b"PN": _person_names,
    b"UR": _uri,
}


def element_text(tag: int, vr: bytes, value: bytes, encodings: Encodings, offset: int | None) -> str:
    """`"GGGGEEEE":{"vr":…}` of one element that is no sequence, value in little endian.

    Args:
        offset: where the value stands in the file, bytes; None where it has no place of its own (deflated).
    """
    name = vr.decode("latin-1")
    limit = BINARY_LIMIT if vr in BINARY_VRS or vr in NUMBER_FORMATS else TEXT_LIMIT
    if len(value) > limit:
        return bulk_text(tag, name, offset, len(value))
    if not value:
        return empty_text(tag, name)
    if vr in BINARY_VRS:
        return f'"{tag:08X}":{{"vr":"{name}","InlineBinary":"{b64encode(value).decode("ascii")}"}}'
    try:
        values = WRITERS[vr](value, encodings)
    except (WrongLengthError, KeyError):
        return f'"{tag:08X}":{{"vr":"UN","InlineBinary":"{b64encode(value).decode("ascii")}"}}'
    if values in ("null", '""'):  # only padding
        return empty_text(tag, name)
    if tag in LUT_DESCRIPTORS and values.startswith("-"):
        first, _, rest = values.partition(",")  # the entry count is unsigned whatever the VR says, PS3.3 C.11.1.1.1
        values = f"{int(first) + 65536},{rest}"
    return f'"{tag:08X}":{{"vr":"{name}","Value":[{values}]}}'


def empty_text(tag: int, name: str) -> str:
    """An element without a value."""
    return f'"{tag:08X}":{{"vr":"{name}"}}'


def bulk_text(tag: int, name: str, offset: int | None, length: int) -> str:
    """An element whose value is left out, with the place and length it has in the file."""
    place = f"offset={offset}&" if offset is not None else ""
    return f'"{tag:08X}":{{"vr":"{name}","BulkDataURI":"?{place}length={length}"}}'
