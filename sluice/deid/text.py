"""Text that may stay: decoded by the object's character set, reduced to known terms, codes to known schemes."""

from __future__ import annotations

import re
import warnings
from functools import cache

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.sr import _concepts_dict

from sluice.deid.elements import DataSet, Element
from sluice.deid.profile import terms

CHARACTER_SET = 0x00080005
CODE_VALUE, SCHEME, MEANING = 0x00080100, 0x00080102, 0x00080104
ESCAPE = b"\x1b"
DELIMITERS = {0x0D, 0x0A, 0x09, 0x0C, 0x5C, 0x5E, 0x3D}  # end the effect of an escape sequence, PS3.5 6.1.2.5.3
WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*|[^\W_]+")  # letters, X-RAY; else letters with digits: T1, 55F
CODE_STRING = re.compile(r"[A-Z0-9_ ]{0,16}")
LONG_NUMBER = re.compile(r"\d{6}")  # in a code string it is a date or an identifier, not a term
DECIMAL = re.compile(r" *[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)? *")
INTEGER = re.compile(r" *[+-]?\d{1,12} *")
LENGTHS = {"SH": 16, "CS": 16, "AE": 16, "LO": 64, "ST": 1024, "LT": 10240}
# Codes of these schemes are kept by form where pydicom's dictionary does not list them.
SCHEMES = {
    "SCT": r"\d{6,18}",
    "SRT": r"[A-Z]\d?-[0-9A-F]{4,5}",
    "SNM3": r"[A-Z]\d?-[0-9A-F]{4,5}",
    "99SDM": r"[A-Z]\d?-[0-9A-F]{4,5}",
    "DCM": r"\d{6}",
    "LN": r"\d{1,5}-\d",
    "FMA": r"\d{4,6}",
    "RADLEX": r"RID\d{1,6}",
    "UMLS": r"C\d{7}",
    "NCIt": r"C\d{3,6}",
    "UCUM": r"1|%|mm|cm|ml|mg|ms|s|Hz|HU|keV|kV|mA|uA|Bq|Bq/ml|g/ml|\[hnsf'U\]|mm2/s|um2/s|\{[a-z]+\}",
}


def decode(value: bytes, character_sets: str) -> str | None:
    """Text of a value; None where its bytes cannot be decoded for certain.

    Args:
        character_sets: Specific Character Set (0008,0005) as encoded, components separated by a backslash.
    """
    value = value.rstrip(b" \0")
    if value.isascii() and ESCAPE not in value:
        return value.decode("ascii")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pydicom warns where it replaces, and its warnings would print the value
        try:
            encodings = convert_encodings([part.strip() for part in character_sets.split("\\")])
            return decode_bytes(value, encodings, DELIMITERS)
        except (UserWarning, UnicodeError, LookupError, ValueError):
            return None


def character_sets(elements: DataSet) -> str:
    """Specific Character Set of a data set or item, empty where it has none of its own."""
    return plain(elements.get(CHARACTER_SET))


def known_terms(text: str, vr: str, kinds: re.Pattern[str]) -> str:
    """The words of a description that are on the list, in order; everything else goes."""
    allowed = terms(kinds)
    kept = " ".join(word for word in WORD.findall(text) if word.upper() in allowed)
    return kept[: LENGTHS.get(vr, len(kept))].rstrip()


def code_strings(value: bytes) -> bytes | None:
    """CS components that are code strings (PS3.5 6.2); the others become empty. None where none is left."""
    text = value.decode("latin-1").rstrip(" \0")
    parts = [
        part.strip() if CODE_STRING.fullmatch(part.strip()) and not LONG_NUMBER.search(part) else ""
        for part in text.split("\\")
    ]
    return "\\".join(parts).encode() if any(parts) or not text else None


def is_number_text(value: bytes, vr: str) -> bool:
    """Whether each component of a DS or IS is a number or empty."""
    form = DECIMAL if vr == "DS" else INTEGER
    text = value.decode("latin-1").rstrip(" \0")
    return all(not part.strip() or form.fullmatch(part) for part in text.split("\\"))


def coded_triplet(item: DataSet) -> DataSet:
    """Code value, scheme and meaning of an item, or nothing.

    Kept is a code that pydicom's dictionary of PS3.16 lists, or that has the form of its scheme's codes. Local schemes
    (99…) and local meanings can hold any text: the meaning becomes the dictionary's, else the code itself.
    """
    value, scheme = plain(item.get(CODE_VALUE)), plain(item.get(SCHEME))
    meaning = _meanings().get(scheme, {}).get(value)
    form = SCHEMES.get(scheme)
    if not value or form is None or (meaning is None and not re.fullmatch(form, value)):
        return {}
    return {
        CODE_VALUE: Element(CODE_VALUE, "SH", value.encode()),
        SCHEME: Element(SCHEME, "SH", scheme.encode()),
        MEANING: Element(MEANING, "LO", (meaning or value)[:64].encode("ascii", "replace")),
    }


def code_item(value: str, scheme: str, meaning: str) -> DataSet:
    """An item of a code sequence (PS3.3 8.8)."""
    parts = ((CODE_VALUE, "SH", value), (SCHEME, "SH", scheme), (MEANING, "LO", meaning[:64]))
    return {tag: Element(tag, vr, text.encode()) for tag, vr, text in parts}


def plain(element: Element | None) -> str:
    """A short value of ASCII, empty where there is none."""
    if element is None or not isinstance(element.value, bytes) or len(element.value) > 64:
        return ""
    return element.value.decode("latin-1").strip(" \0")


@cache
def _meanings() -> dict[str, dict[str, str]]:
    concepts: dict[str, dict[str, dict[str, tuple[str, list[int]]]]] = _concepts_dict.concepts  # type: ignore[assignment]
    return {
        scheme: {code: entry[0] for codes in keywords.values() for code, entry in codes.items()}
        for scheme, keywords in concepts.items()
    }


def clean_report(text: str) -> str:
    """TODO"""
    return known_terms(text, "UT", re.compile("anatomy|technique"))
