"""The independent re-read: does the produced file still say who the patient is?

It shares no code with the engine: it has a reader of its own (`sluice.deid.reread`). From the original it takes what
identifies (names in all their groups, identifiers, contacts, days, every UID: `sluice.deid.needles`); in the produced
file it looks for that in decoded values at every depth (NFKC, casefold, without accents) and in the raw bytes, in the
encodings that the original was written in and in every one that DICOM knows. It also checks the claims: file meta,
preamble, what stands behind the data set, UIDs, dates. Findings name tags and kinds, never values.
"""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from pydicom.datadict import dictionary_has_tag

from sluice.deid.needles import (
    NOT_DIGITS,
    SHORTEST_PHONE,
    TEXT_VRS,
    UID_FORM,
    WORD,
    Needles,
    folded,
    needles_of,
    plain_letters,
)
from sluice.deid.reread import Found, Reread, RereadError, reread

NUMBERS = frozenset({"IS", "DS"})
NUMBER = re.compile(r" *[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)? *")
BINARY = {"UL": "<L", "SL": "<l", "UV": "<Q", "SV": "<q", "FD": "<d"}  # that can hold seven digits
MOST_BINARY = 64  # bytes of a value that is no table
SHORTEST_DIGITS, LONGEST_DIGITS = 6, 64
SEARCHED = TEXT_VRS | {"CS", "IS", "DS", "DA", "DT", "TM", "AS"}
META_ALLOWED = frozenset({0x00020000, 0x00020001, 0x00020002, 0x00020003, 0x00020010, 0x00020012, 0x00020013})
SOP_CLASS, SOP_INSTANCE, REMOVED, TEMPORAL, METHODS = 0x00080016, 0x00080018, 0x00120062, 0x00280303, 0x00120064
CODE_VALUE = 0x00080100
NO_DATE = "19000101"
RETAIN_UIDS = "113110"  # CID 7050: UIDs are kept, none of them is a finding
ROOT_BYTES = 10  # of a UID: what an organisation's have alike


@dataclass(frozen=True)
class Finding:
    """Something that must not be in the produced file.

    Attributes:
        kind: `identifier`, `raw-bytes`, `uid`, `date`, `meta`, `claim` or `unreadable`.
        where: tag path, or what is wrong; never a value.
    """

    kind: str
    where: str


@dataclass(frozen=True)
class Claims:
    """What the profile says of the produced file, to be checked against it.

    Attributes:
        shift_days: whole days that dates were moved by, 0 where they were kept; None where no date may be left.
        codes: CID 7050 code values.
    """

    shift_days: int | None
    codes: tuple[str, ...]


def findings(original: bytes, produced: bytes, claims: Claims, known: Iterable[str] = ()) -> list[Finding]:
    """What the produced file still tells of the patient of the original.

    Args:
        original, produced: DICOM files.
        known: further identifiers of the patient, e.g. from other instances of the study.

    Returns:
        Nothing where the file may leave.
    """
    try:
        before, after = reread(original), reread(produced)
    except RereadError as error:
        return [Finding("unreadable", str(error))]
    return leaks(before, after, produced, claims, known)


def leaks(
    before: Reread, after: Reread, produced: bytes, claims: Claims, known: Iterable[str] = (), pixels: bool = True
) -> list[Finding]:
    """`findings` of files that were read already.

    Args:
        pixels: whether the bytes of the pixels are searched too.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings print values
        try:
            needles = needles_of(before, known)
            if RETAIN_UIDS in claims.codes:
                needles.uids.clear()
            found = [*_meta(after), *_claims(after, claims), *_values(after, needles, claims)]
            found += _dates(after, needles, claims)
            found += _raw(produced, after, needles, pixels)
        except Exception as error:  # a fault of ours must hold the file, not let it pass
            return [Finding("unreadable", type(error).__name__)]
    return found


@dataclass(frozen=True)
class _Text:
    """Text of the produced file as needles are looked for in it."""

    folded: str
    values: frozenset[str]

    def tells(self, needles: Needles) -> bool:
        """Whether an identifier stands in it."""
        forms = {self.folded, plain_letters(self.folded)}
        return (
            not needles.whole.isdisjoint(self.values)
            or any(phrase in form for form in forms for phrase in needles.phrases)
            or any(birth in self.folded for birth in needles.birth)
            or any(not needles.words.isdisjoint(WORD.findall(form)) for form in forms)
            or any(number in joined for number in needles.digits for joined in _numbers(self.folded))
        )

    def tells_day(self, needles: Needles) -> bool:
        """Whether a day of the original stands in it."""
        return any(day in self.folded for day in needles.days)


def _numbers(text: str) -> list[str]:
    """Numbers as they are dialled: digits with only spaces, dashes, dots, slashes or brackets between them."""
    joined = (NOT_DIGITS.sub("", run) for run in re.findall(r"[\d][\d ()./+-]{5,}", text))
    return [number for number in joined if len(number) >= SHORTEST_PHONE]


def _text_of(elements: Iterable[Found]) -> _Text:
    # Values are joined by a letter that is in no needle, so that none is found across two of them.
    values = [folded(value).strip() for one in elements for value in one.text().split("\\")]
    return _Text("\x1f".join(values), frozenset(values))


def _values(after: Reread, needles: Needles, claims: Claims) -> list[Finding]:
    """Identifiers, UIDs and days in decoded values: all at once, and one by one only where something is there."""
    searched = [one for one in after.elements if one.data and one.vr in SEARCHED]
    texts = [one for one in searched if one.vr in TEXT_VRS]
    found = [
        Finding("claim", f"{_where(one.path)} is unknown to the dictionary")
        for one in after.elements
        if one.tag >> 16 & 1 == 0 and one.tag & 0xFFFF and not dictionary_has_tag(one.tag)
    ]
    if _text_of(searched).tells(needles):
        found += [Finding("identifier", _where(one.path)) for one in searched if _text_of((one,)).tells(needles)]
    moved = claims.shift_days != 0
    if moved and _text_of(texts).tells_day(needles):
        found += [Finding("date", _where(one.path)) for one in texts if _text_of((one,)).tells_day(needles)]
    for one in after.elements:
        if one.data and (one.vr in NUMBERS or one.vr in BINARY):
            found += _told_by_number(one, needles, moved)
        if one.vr == "UI":
            kind, uids = "uid", one.text().split("\\")
        elif one.vr in TEXT_VRS and len(one.data) > 7:
            kind, uids = "identifier", UID_FORM.findall(one.data.decode("latin-1"))
        else:
            continue
        if not needles.uids.isdisjoint(uids):
            found.append(Finding(kind, _where(one.path)))
    return found


def _told_by_number(one: Found, needles: Needles, moved: bool) -> Iterator[Finding]:
    """An identifier of digits, or a day, as a number: `0012345678` is `12345678` there, and `1.2345678E7`."""
    if one.vr in NUMBERS and not all(NUMBER.fullmatch(value) or not value.strip() for value in one.text().split("\\")):
        yield Finding("claim", f"{_where(one.path)} is no number")
        return
    numbers = set(_whole_numbers(one))
    if not numbers.isdisjoint(needles.numbers):
        yield Finding("identifier", _where(one.path))
    if moved and not numbers.isdisjoint(needles.days):
        yield Finding("date", _where(one.path))


def _whole_numbers(one: Found) -> Iterator[str]:
    """Digits of the numbers of a value before the point, where they are enough to tell somebody."""
    if one.vr in NUMBERS:
        values = [Decimal(value.strip()) for value in one.text().split("\\") if len(value.strip()) >= 4]
    elif len(one.data) > MOST_BINARY or len(one.data) % struct.calcsize(BINARY[one.vr]):
        return
    else:
        values = [Decimal(value) for (value,) in struct.iter_unpack(BINARY[one.vr], one.data)]
    for value in values:
        if value.is_finite() and value and SHORTEST_DIGITS <= value.adjusted() + 1 <= LONGEST_DIGITS:
            yield str(abs(int(value)))


def _dates(after: Reread, needles: Needles, claims: Claims) -> Iterator[Finding]:
    """Every date that is left is one of the original's at the same place, moved by the patient's own days."""
    for one in after.elements:
        if one.vr not in ("DA", "DT") or not one.data:
            continue
        produced = [value for value in one.text().split("\\") if value and not value.startswith(NO_DATE)]
        if not produced:
            continue
        if claims.shift_days is None:
            yield Finding("date", _where(one.path))
            continue
        expected = {_moved(value, claims.shift_days) for value in needles.dates.get(one.path, ())}
        if not all(value[:8] in expected for value in produced):
            yield Finding("date", _where(one.path))


def _moved(value: str, days: int) -> str:
    digits = NOT_DIGITS.sub("", value)[:8]
    try:
        moved = date(int(digits[:4]), int(digits[4:6]), int(digits[6:])) + timedelta(days=days)
    except (ValueError, OverflowError):
        return ""
    return f"{moved.year:04d}{moved:%m%d}"


def _meta(after: Reread) -> Iterator[Finding]:
    meta = {one.tag: one for one in after.meta}
    top = {one.tag: one for one in after.elements if len(one.path) == 1}
    if not after.preamble:
        yield Finding("unreadable", "no DICM prefix")
    if any(after.preamble):
        yield Finding("meta", "the preamble is not empty")
    for tag, own, name in ((0x00020003, SOP_INSTANCE, "Instance"), (0x00020002, SOP_CLASS, "Class")):
        if tag not in meta or own not in top or meta[tag].text() != top[own].text():
            yield Finding("meta", f"the SOP {name} UIDs of file meta and data set differ")
    for tag in meta:
        if tag not in META_ALLOWED:
            yield Finding("meta", _where((tag,)))
    if after.rest:
        yield Finding("meta", "bytes stand behind the data set")
    for tag in top:
        group = tag >> 16
        if group in (0, 2, 4) or 0x5000 <= group <= 0x50FF or 0x6000 <= group <= 0x60FF or group >= 0xFFFA:
            yield Finding("claim", _where((tag,)))


def _claims(after: Reread, claims: Claims) -> Iterator[Finding]:
    top = {one.tag: one.text() for one in after.elements if one.path in ((REMOVED,), (TEMPORAL,))}
    if top.get(REMOVED) != "YES":
        yield Finding("claim", "Patient Identity Removed is not YES")
    stated = {one.text() for one in after.elements if one.path == (METHODS, CODE_VALUE)}
    if not set(claims.codes) <= stated:
        yield Finding("claim", "De-identification Method Code Sequence lacks a code")
    if top.get(TEMPORAL) != {None: "REMOVED", 0: "UNMODIFIED"}.get(claims.shift_days, "MODIFIED"):
        yield Finding("claim", "Longitudinal Temporal Information Modified is wrong")


def _raw(produced: bytes, after: Reread, needles: Needles, pixels: bool) -> Iterator[Finding]:
    """Needles in the bytes: in the header in any case of letters, in the pixels as they are written."""
    wanted = needles.raw | {uid.encode() for uid in needles.uids if len(uid) >= 12}
    if not wanted:
        return
    begin, end = after.pixels or (len(after.body), len(after.body))
    start = len(produced) - len(after.body)  # of the data set; a deflated one is searched as it was inflated
    head = produced[:start] if start >= 0 else produced[:1024]
    header = (head + after.body[:begin] + after.body[end:]).lower()
    if any(needle in header for needle in {needle.lower() for needle in wanted}):
        yield Finding("raw-bytes", "in the header")
    if pixels and end > begin and _in_pixels(after.body[begin:end], wanted):
        yield Finding("raw-bytes", "in the pixels")


def _in_pixels(image: bytes, wanted: Iterable[bytes]) -> bool:
    """Whether a needle stands in pixels. UIDs of one file begin alike, so their beginnings are looked for first; of two
    bytes a letter one is zero as of most pixels, so those are not looked for."""
    by_start: dict[bytes, list[bytes]] = {}
    for needle in wanted:
        if 0 not in needle:
            by_start.setdefault(needle[:ROOT_BYTES], []).append(needle)
    return any(start in image and any(needle in image for needle in same) for start, same in by_start.items())


def _where(path: tuple[int, ...]) -> str:
    return " > ".join(f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag in path)
