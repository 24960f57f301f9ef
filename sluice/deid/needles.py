"""What identifies the patient of an original, in every form in which it could still stand in a produced file.

Part of the independent check (`sluice.deid.leak_check`): it shares no code with the engine.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from pydicom._uid_dict import UID_dictionary

from sluice.deid.reread import Found, Reread

# Attributes whose value is an identifier as a whole (PS3.15 E.1-1; HIPAA 164.514(b)(2)(i)).
IDENTIFIERS = frozenset({
    0x00080050, 0x00081195, 0x00100020, 0x00100021, 0x00101000, 0x00101001, 0x00101040, 0x00101060, 0x00101080,
    0x00101090, 0x00102154, 0x00102155, 0x00102297, 0x00102298, 0x00102299, 0x00200010, 0x00321064, 0x00380010,
    0x00380060, 0x00380300, 0x00380500, 0x00401001, 0x00402016, 0x00402017, 0x00120040, 0x00101005, 0x00100010,
    0x00100050, 0x00080092, 0x00080094, 0x00401010, 0x00401103, 0x00401104, 0x00080076, 0x0040A353, 0x0040A354,
})  # fmt: skip
PHONES = frozenset({0x00102154, 0x00102155, 0x00080094, 0x00401103, 0x0040A354})
BIRTH_DATES = frozenset({0x00100030, 0x00100033, 0x00100034})
MANUFACTURER, MODEL_NAME, UID_VALUE, MEDIA_INSTANCE = 0x00080070, 0x00081090, 0x0040A124, 0x00020003
TEXT_VRS = frozenset({"AE", "LO", "LT", "PN", "SH", "ST", "UC", "UN", "UR", "UT"})
PLACEHOLDERS = frozenset({"", "none", "unknown", "anonymous", "removed", "na", "n/a", "null", "test"})
WORD = re.compile(r"\w+")
UID_FORM = re.compile(r"[0-9]+(?:\.[0-9]+){3,}")
NOT_DIGITS = re.compile(r"\D+")
# Python's names of what Specific Character Set stands for, and of what files are written in without saying so.
ENCODINGS = (
    "utf_8", "latin_1", "iso8859_2", "iso8859_3", "iso8859_4", "iso8859_5", "iso8859_6", "iso8859_7", "iso8859_8",
    "iso8859_9", "iso8859_15", "tis_620", "cp1252", "cp1251", "iso2022_jp_2", "shift_jis", "euc_jp", "euc_kr",
    "iso2022_kr", "gb18030", "big5", "utf_16_le", "utf_16_be",
)  # fmt: skip
ESCAPES = re.compile(rb"\x1b[\x20-\x2f]*[\x30-\x7e]|[\x0e\x0f]")
TRANSLITERATED = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe", "æ": "ae", "ł": "l", "đ": "d"})
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
LONG_MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
               "november", "december")  # fmt: skip
SHORTEST_RAW = 6  # bytes: shorter needles turn up in pixels by chance
SHORTEST_WIDE = 5  # letters of two bytes each
SHORTEST_NAME, SHORTEST_NUMBER, SHORTEST_PHONE = 3, 5, 7  # letters, digits: shorter ones only as a whole value


@dataclass
class Needles:
    """What must not be found.

    Attributes:
        words: whole words, folded.
        phrases: anywhere in a value, folded.
        whole: too short for either: a value of its own.
        digits: telephone numbers, compared without what stands between digits.
        numbers: digits of identifiers without leading zeros, as a numeric element could hold them.
        birth: forms of the dates of birth, folded.
        days: forms of every other full date of the original, folded.
        raw: bytes, for places that nobody decodes.
        dates: the original's dates by the path of the element that holds them.
    """

    words: set[str] = field(default_factory=set)
    phrases: set[str] = field(default_factory=set)
    whole: set[str] = field(default_factory=set)
    digits: set[str] = field(default_factory=set)
    numbers: set[str] = field(default_factory=set)
    birth: set[str] = field(default_factory=set)
    days: set[str] = field(default_factory=set)
    raw: set[bytes] = field(default_factory=set)
    uids: set[str] = field(default_factory=set)
    dates: dict[tuple[int, ...], list[str]] = field(default_factory=dict)


def needles_of(original: Reread, known: Iterable[str]) -> Needles:
    """Everything in an original that identifies.

    Args:
        known: further identifiers of the patient, e.g. from other instances of the study.
    """
    needles = Needles()
    machine = _machine_words(original)
    for one in original.elements:
        if not one.data or one.vr == "SQ":
            continue
        tag, vr = one.tag, one.vr
        if vr == "UI":
            needles.uids.update(one.text().split("\\"))
        elif tag in IDENTIFIERS or vr == "PN":
            text = one.text()
            if vr == "PN" and tag not in IDENTIFIERS and set(WORD.findall(folded(text))) <= machine:
                continue  # scanners sign as Content Creator with their model's name, which is kept
            for value in text.split("\\"):
                add_identifier(needles, value, one.data if "\\" not in text else b"", vr == "PN", tag in PHONES)
        elif vr in ("DA", "DT"):
            values = one.text().split("\\")
            if tag in BIRTH_DATES:
                for value in values:
                    needles.birth.update(date_forms(value))
            else:
                needles.dates.setdefault(one.path, []).extend(values)
                for value in values:
                    needles.days.update(date_forms(value))
        if vr in TEXT_VRS and len(one.data) > 15:
            needles.uids.update(uid for uid in _uids_in(one) if len(uid) > 15 or tag == UID_VALUE)
    needles.uids.update(one.text() for one in original.meta if one.tag == MEDIA_INSTANCE)
    for text in known:
        add_identifier(needles, text, b"", "^" in text, False)
    needles.uids -= set(UID_dictionary)
    needles.uids.discard("")
    needles.days -= needles.birth
    return needles


def _uids_in(one: Found) -> list[str]:
    return UID_FORM.findall(one.data.decode("latin-1"))


def _machine_words(original: Reread) -> set[str]:
    """Words of manufacturer and model, which are no person's name unless it is the patient's."""
    named = [one for one in original.elements if one.tag in (MANUFACTURER, MODEL_NAME) and len(one.path) == 1]
    return {word for one in named for word in WORD.findall(folded(one.text()))}


def add_identifier(needles: Needles, text: str, encoded: bytes, is_name: bool, is_phone: bool) -> None:
    """Add every form of one identifying value."""
    found = _forms_of(text, encoded, is_name, is_phone)
    needles.words |= found.words
    needles.phrases |= found.phrases
    needles.whole |= found.whole
    needles.digits |= found.digits
    needles.numbers |= found.numbers
    needles.raw |= found.raw


@lru_cache(maxsize=4096)  # a patient's files come one after the other
def _forms_of(text: str, encoded: bytes, is_name: bool, is_phone: bool) -> Needles:
    needles = Needles()
    whole = folded(text).strip(" ^=\\")
    if whole in PLACEHOLDERS:
        return needles
    raw = encoded.strip(b" \0^")
    if len(raw) >= SHORTEST_RAW and len(set(raw)) > 2:
        needles.raw.add(raw)
    if is_phone:
        number = NOT_DIGITS.sub("", whole).lstrip("0")
        if len(number) >= SHORTEST_PHONE:
            needles.digits.add(number[-max(SHORTEST_PHONE, len(number) - 3) :])  # without the country's code
    number = NOT_DIGITS.sub("", whole).lstrip("0")
    if len(number) >= (SHORTEST_RAW if whole.isdigit() else SHORTEST_PHONE):
        needles.numbers.add(number)
    groups = whole.split("=") if is_name else [whole]
    parts = {part for group in groups for part in WORD.findall(group)}
    if len(whole) >= SHORTEST_RAW:
        parts.add(whole)
    if is_name:
        parts.update(joined for group in groups for joined in _joined(group))
    for part in parts:
        _add_part(needles, part, whole, is_name)
    for part in {*parts, *WORD.findall(text), text.strip()}:
        needles.raw.update(_encoded(part))
    return needles


def _joined(group: str) -> set[str]:
    """Names as one word, in either order: `leeann`, `annlee`, and of East Asian ones the usual form without space."""
    words = WORD.findall(group)
    if len(words) < 2:
        return set()
    return {"".join(words[:2]), "".join(words[1::-1])}


def _add_part(needles: Needles, part: str, whole: str, is_name: bool) -> None:
    ideographic = any(ord(letter) > 0x2E80 for letter in part)
    shortest = SHORTEST_NUMBER if any(map(str.isdigit, part)) or not is_name else SHORTEST_NAME
    if len(part) < (2 if ideographic else shortest):
        if part == whole and len(part) >= SHORTEST_NAME:
            needles.whole.add(part)
        return
    for form in {part, plain_letters(part), part.translate(TRANSLITERATED)}:
        (needles.phrases if ideographic or len(form) >= SHORTEST_RAW else needles.words).add(form)


@lru_cache(maxsize=8192)
def _encoded(part: str) -> frozenset[bytes]:
    forms: set[bytes] = set()
    for form in {part, part.upper(), part.lower(), part.title()}:
        if form.isascii():  # the same bytes in all but the wide encodings
            forms.add(form.encode())
            if len(form) >= SHORTEST_WIDE and not form.isdigit():  # small numbers of 16 bits look like digits
                forms.add(form.encode("utf_16_le"))
            continue
        for encoding in ENCODINGS:
            try:
                encoded = form.encode(encoding)
            except UnicodeEncodeError:
                continue
            forms.add(encoded)
            # Between escape sequences (ISO 2022) the letters themselves: another writer escapes elsewhere.
            forms.update(ESCAPES.split(encoded))
    return frozenset(form for form in forms if len(form) >= SHORTEST_RAW and len(set(form)) > 2)


@lru_cache(maxsize=8192)
def date_forms(value: str) -> frozenset[str]:
    """The usual ways to write a day, folded; nothing where it is no full date."""
    digits = NOT_DIGITS.sub("", value)[:8]
    if len(digits) < 8 or not "01" <= digits[4:6] <= "12" or digits.startswith("1900"):
        return frozenset()
    year, month, day = digits[:4], digits[4:6], digits[6:8]
    m, d = str(int(month)), str(int(day))
    forms = {digits, f"{day}{month}{year}", f"{month}{day}{year}"}
    for mark in "-./ ":
        forms |= {mark.join(parts) for parts in ((year, month, day), (day, month, year), (month, day, year))}
    for mark in "./":
        forms |= {mark.join(parts) for parts in ((d, m, year), (m, d, year), (year, m, d))}
    for name in (MONTHS[int(month) - 1], LONG_MONTHS[int(month) - 1]):
        forms |= {f"{d} {name} {year}", f"{day}-{name}-{year}", f"{name} {d}, {year}", f"{name} {d} {year}"}
        forms |= {f"{d}. {name} {year}", f"{day}{name}{year}", f"{day} {name} {year}"}
    forms.add(f"{year}年{m}月{d}日")
    return frozenset(forms)


@lru_cache(maxsize=16384)
def folded(text: str) -> str:
    """NFKC and casefold: full-width letters, ligatures, case."""
    return unicodedata.normalize("NFKC", text).casefold()


@lru_cache(maxsize=16384)
def plain_letters(text: str) -> str:
    """Without accents and other marks on letters."""
    if text.isascii():
        return text
    return "".join(letter for letter in unicodedata.normalize("NFD", text) if not unicodedata.combining(letter))
