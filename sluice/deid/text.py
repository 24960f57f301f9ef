"""Text that may stay: decoded by the object's character set, reduced to known terms, codes to known schemes."""

from __future__ import annotations

import re
import warnings
from functools import cache, lru_cache
from itertools import product

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.sr import _concepts_dict

from sluice.deid import names
from sluice.deid.elements import DataSet, Element
from sluice.deid.profile import NOTE_TERMS, code_words, terms

CHARACTER_SET = 0x00080005
CODE_VALUE, SCHEME, MEANING = 0x00080100, 0x00080102, 0x00080104
ESCAPE = b"\x1b"
DELIMITERS = {0x0D, 0x0A, 0x09, 0x0C, 0x5C, 0x5E, 0x3D}  # end the effect of an escape sequence, PS3.5 6.1.2.5.3
CODE_STRING = re.compile(r"[A-Z0-9_ ]{0,16}")
SHORT_CODE = re.compile(r"[A-Z]{1,3}|\d{1,3}|(?=[A-Z]*\d{1,3}[A-Z]*)[A-Z0-9]{2,6}")
LONG_NUMBER = re.compile(r"\d{6}")  # in a code string it is a date or an identifier, not a term
NUMBER = re.compile(r"\d{1,4}(?:[.,]\d{1,3})?")
VERTEBRA = re.compile(r"(?:[CLS]|T|Th|TH|BWK|LWK|HWK|SWK)(?:1[0-2]|[1-9])")
UNITS = frozenset(["mm", "cm", "m", "ml", "l", "cc", "mg", "g", "kg", "Hz", "kHz", "MHz", "ms", "sec", "s", "min", "h",
                   "HU", "T", "mmHg", "mGy", "mSv", "Gy", "%", "°", "Grad", "degrees"])  # fmt: skip
GRADED = frozenset(["GRADE", "GRAD", "STAGE", "STADIUM", "SEGMENT", "SEGMENTS", "LEVEL", "TYPE", "TYP", "CATEGORY",
                    "BIRADS", "BWK", "LWK", "HWK", "SWK"])  # fmt: skip
MOST_DIMENSIONS = 4
SIGNS = frozenset(".,;:")
STRONGER = {(one, other) for one, other in product(",;:", ".;:") if other == "." or one == ","}  # of two signs
DECIMAL = re.compile(r" *[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)? *")
INTEGER = re.compile(r" *[+-]?\d{1,12} *")
PERMUTED = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)  # of a digit, once for each place to the left
LENGTHS = {"SH": 16, "CS": 16, "AE": 16, "LO": 64, "ST": 1024, "LT": 10240}
# Atoms of the Unified Code for Units of Measure. Its annotations in braces are free text: those of PS3.16 alone stay.
UNIT_ATOM = (
    r"(?:[munkMGdcp]?(?:m|g|l|L|s|Hz|Bq|Gy|Sv|V|A|T|W|J|N|Pa|mol|eV|U|Ci|C|rad)\d?"
    r"|min|h|d|wk|mo|a|deg|Cel|%|1|10\*-?\d{1,2}|mm\[Hg\]|HU)"
)
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
    "RFC5646": r"[a-z]{2}(?:-[A-Z]{2})?",  # the language of a report
    "UCUM": rf"{UNIT_ATOM}(?:[./]\d{{0,3}}{UNIT_ATOM})*",
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
    """The words of a description that are on the list, in order; the rest goes, and with it what names people."""
    allowed = terms(kinds)
    words = names.tokens(text.replace("_", " "))
    # Fields for makers and models hold no people, and half of their words are surnames.
    people = names.name_places(words, report=False) if kinds.fullmatch("anatomy") else frozenset()
    kept = " ".join(
        word
        for position, word in enumerate(words)
        if position not in people and (names.folded(word) in allowed or _parts_known(word, allowed))
    )
    return kept[: LENGTHS.get(vr, len(kept))].rstrip()


def _parts_known(word: str, allowed: frozenset[str]) -> bool:
    parts = word.split("-")
    return len(parts) > 1 and all(names.folded(part) in allowed for part in parts)


def clean_report(text: str) -> str:
    """A report without anything that no list knows: words, measures with their unit, vertebrae, grades.

    What goes leaves `[...]`, so that a reader sees that a sentence is not whole. Names go even where they are words
    (Dr. Hand, Mr. Brown, Frau Kopf), dates and numbers without a unit go always. Cleaning twice changes nothing.

    Args:
        text: decoded, English or German.

    Returns:
        Empty where nothing of it is known.
    """
    words = names.tokens(text.replace("?", ".").replace("!", "."))
    people = names.name_places(words, report=True)
    allowed = terms(NOTE_TERMS)
    written: list[str] = []
    for position, word in enumerate(words):
        if word == "\n":
            if written and written[-1] != "\n":
                written.append(word)
        elif position not in people and _belongs(words, position, allowed, people):
            written.append(word)
        elif word in SIGNS:
            if written and (written[-1], word) in STRONGER:
                written[-1] = word  # the end of a sentence stays one
            elif written and written[-1] not in SIGNS and written[-1] != "\n":
                written.append(word)
        elif (word[0].isalnum() or word == names.GAP) and (not written or written[-1] != names.GAP):
            written.append(names.GAP)
    if not any(word[0].isalnum() for word in written):
        return ""
    joined = " ".join(written)
    return re.sub(r" ([.,;:])", r"\1", re.sub(r" ?\n ?", "\n", joined)).strip()


def _belongs(words: list[str], position: int, allowed: frozenset[str], people: frozenset[int]) -> bool:
    """Whether a word or number of a report may stay, names apart."""
    word = words[position]
    if not word[0].isalnum():
        return word in UNITS and _after_number(words, position)
    if word[0].isdigit() and NUMBER.fullmatch(word):
        return _is_measure(words, position, people)
    if len(word) == 1:
        follows = words[position + 1] if position + 1 < len(words) else "."
        if word in ("a", "A"):
            return follows[0].isalnum() or follows == names.GAP
        if not _after_number(words, position):
            return False
        if word == "x":
            both = NUMBER.fullmatch(follows) and _is_measure(words, position - 1, people)
            return bool(both) and _is_measure(words, position + 1, people)
        return word in UNITS
    if names.folded(word) in allowed or names.folded(word) in GRADED or VERTEBRA.fullmatch(word):
        return True
    return _parts_known(word, allowed) or (word in UNITS and _after_number(words, position))


def _after_number(words: list[str], position: int) -> bool:
    return position > 0 and NUMBER.fullmatch(words[position - 1]) is not None


def _is_measure(words: list[str], position: int, people: frozenset[int]) -> bool:
    """A number with a unit behind it, of a chain of dimensions that ends in one, or a grade of at most two digits."""
    here = position + 1
    end = min(position + 2 * MOST_DIMENSIONS, len(words)) - 1  # a longer chain would be read from each link
    while here < end and words[here] == "x" and NUMBER.fullmatch(words[here + 1]):
        here += 2
    if here < len(words) and words[here] in UNITS and here not in people:
        return True
    before = names.folded(words[position - 1]) if position and position - 1 not in people else ""
    return len(words[position]) <= 2 and before in GRADED


def code_strings(value: bytes) -> bytes | None:
    """CS components that are code strings (PS3.5 6.2); the others become empty. None where none is left."""
    text = value.decode("latin-1").rstrip(" \0")
    parts = [
        part.strip() if CODE_STRING.fullmatch(part.strip()) and not LONG_NUMBER.search(part) else ""
        for part in text.split("\\")
    ]
    return "\\".join(parts).encode() if any(parts) or not text else None


def known_code_strings(value: bytes) -> bytes | None:
    """CS components of which each word is a term of PS3.3, on the list, or too short for a name; others become empty.

    Makers add their own terms to Image Type and the like: short ones and ones with a digit or two stay (DIS2D, SOM5).
    """
    formed = code_strings(value)
    if not formed:
        return formed
    parts = [part if _known_code(part) else "" for part in formed.decode().split("\\")]
    return "\\".join(parts).encode() if any(parts) else None


@lru_cache(maxsize=4096)
def _known_code(part: str) -> bool:
    words = [word for word in re.split(r"[ _]+", part) if word]
    known, listed = code_words(), names.vocabulary()
    return all(
        word in known or SHORT_CODE.fullmatch(word) or (word in listed and not listed[word].is_name) for word in words
    )


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
    if scheme == "SCT" and meaning is None and not is_concept(value):
        return {}
    return {
        CODE_VALUE: Element(CODE_VALUE, "SH", value.encode()),
        SCHEME: Element(SCHEME, "SH", scheme.encode()),
        MEANING: Element(MEANING, "LO", (meaning or value)[:64].encode("ascii", "replace")),
    }


def is_concept(digits: str) -> bool:
    """Whether digits are an identifier of a SNOMED CT concept, so that a telephone or hospital number is none: its
    partition is 00 or 10 and its check digit right (SNOMED CT Release File Specification, 6.1 to 6.4; Verhoeff 1969).
    """
    if digits[-3:-1] not in ("00", "10") or digits[0] == "0":
        return False
    check = 0
    for position, digit in enumerate(reversed(digits)):
        number = int(digit)
        for _ in range(position % 8):
            number = PERMUTED[number]
        check = _in_dihedral_group(check, number)
    return check == 0


def _in_dihedral_group(one: int, other: int) -> int:
    """The product of two elements of the symmetries of the pentagon; 0 to 4 are its rotations."""
    if one < 5:
        return (one + other) % 5 + (0 if other < 5 else 5)
    return (one - other) % 5 + (5 if other < 5 else 0)


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
