"""The independent re-read: does the produced file still say who the patient is?

It shares no code with the engine and reads both files with pydicom. From the original it takes what identifies
(names, identifiers, contacts, dates, every UID); in the produced file it looks for that in decoded values at
every depth (NFKC, casefold) and in the raw bytes, in the encodings that the original was written in and in the
usual ones. It also checks the claims: file meta, UIDs, dates. Findings name tags and kinds, never values.
"""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

import pydicom
from pydicom._uid_dict import UID_dictionary
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName

TEXT_VRS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT", "UN"})
SHORT_VRS = frozenset({"IS", "DS", "DA", "DT", "TM", "AS", "UI"})
BULK_VRS = frozenset({"OB", "OW", "OD", "OF", "OL", "OV"})
# VRs of the original that hold nothing to look for, and those that are searched for UIDs only.
NEVER_TELLING = BULK_VRS | {"US", "SS", "UL", "SL", "FL", "FD", "SV", "UV", "AT", "DS", "IS", "TM", "AS", "CS"}
PLAIN_TEXT = frozenset({"LO", "LT", "SH", "ST", "UC", "UR", "UT"})
PIXEL_DATA = 0x7FE00010
RETAIN_UIDS = "113110"  # CID 7050: UIDs are kept, none of them is a finding
# Attributes whose value is an identifier as a whole (PS3.15 E.1-1; HIPAA 164.514(b)(2)(i)).
IDENTIFIERS = frozenset({
    0x00080050, 0x00081195, 0x00100020, 0x00100021, 0x00101000, 0x00101001, 0x00101040, 0x00101060, 0x00101080,
    0x00101090, 0x00102154, 0x00102155, 0x00102297, 0x00102298, 0x00102299, 0x00200010, 0x00321064, 0x00380010,
    0x00380060, 0x00380300, 0x00380500, 0x00401001, 0x00402016, 0x00402017, 0x00120040, 0x00101005, 0x00100010,
    0x00100050, 0x00080092, 0x00080094, 0x00401010,
})  # fmt: skip
BIRTH_DATE, ADDRESS = 0x00100030, 0x00101040
MANUFACTURER, MODEL_NAME = 0x00080070, 0x00081090
NAME_TAGS = frozenset({0x00100010, 0x00101001, 0x00101005, 0x00101060})
WORD = re.compile(r"\w+")
UID_FORM = re.compile(r"[0-9]+(?:\.[0-9]+){3,}")
USUAL_ENCODINGS = (
    "latin_1",
    "utf_8",
    "iso8859_2",
    "iso8859_5",
    "iso8859_7",
    "iso2022_jp",
    "shift_jis",
    "euc_kr",
    "gb18030",
)
SHORTEST_RAW = 6  # bytes: shorter needles turn up in pixels by chance
SHORTEST_NAME, SHORTEST_NUMBER = 3, 5  # letters of a part: shorter ones only as a whole value


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


@dataclass
class _Needles:
    words: set[str]  # whole words, NFKC and casefolded
    phrases: set[str]  # anywhere in a value
    whole: set[str]  # too short for either: a value of its own
    raw: set[bytes]
    uids: set[str]
    dates: dict[tuple[int, ...], list[str]]


def findings(original: bytes, produced: bytes, claims: Claims, known: Iterable[str] = ()) -> list[Finding]:
    """What the produced file still tells of the patient of the original.

    Args:
        original, produced: DICOM files.
        known: further identifiers of the patient, e.g. from other instances of the study.

    Returns:
        Nothing where the file may leave.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings print values
        try:
            needles = _needles(pydicom.dcmread(io.BytesIO(original), force=True), known)
            after = pydicom.dcmread(io.BytesIO(produced))
            elements = list(_walk(after))
            if RETAIN_UIDS in claims.codes:
                needles.uids.clear()
        except Exception as error:
            return [Finding("unreadable", type(error).__name__)]
        found = [*_meta(after, produced), *_claims(after, claims)]
        for path, element in elements:
            found += _element(path, element, needles)
            found += _dates(path, element, needles, claims)
        found += _raw(produced, needles, _pixel_bytes(after))
    return found


def _walk(dataset: Dataset, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], DataElement]]:
    for element in dataset:
        here = (*path, int(element.tag))
        yield here, element
        if element.VR == "SQ":
            for item in element.value or ():
                yield from _walk(item, here)


def _tolerant_walk(dataset: Dataset, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Any, str, bytes]]:
    """Path, value, VR and raw bytes of each element of the original, as far as each can be decoded."""
    for tag in sorted(dataset.keys()):
        raw: Any = dataset.get_item(tag)
        value = getattr(raw, "value", None)
        encoded = value if isinstance(value, bytes) else b""
        here = (*path, int(tag))
        if isinstance(raw, RawDataElement) and isinstance(value, bytes) and int(tag) not in IDENTIFIERS:
            vr = raw.VR or _known_vr(int(tag))
            if vr in NEVER_TELLING or int(tag) == PIXEL_DATA:
                continue
            if vr in PLAIN_TEXT:  # searched for UIDs only, which are ASCII: no need to decode
                yield here, encoded.decode("latin-1"), vr, encoded
                continue
        try:
            element = dataset[tag]
        except Exception:
            yield here, encoded.decode("latin-1"), "UN", encoded
            continue
        if element.VR == "SQ":
            for item in element.value or ():
                yield from _tolerant_walk(item, here)
        elif int(tag) != PIXEL_DATA:
            yield here, element.value, str(element.VR), encoded


def _known_vr(tag: int) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"


def _needles(dataset: Dataset, known: Iterable[str]) -> _Needles:
    needles = _Needles(set(), set(), set(), set(), set(), {})
    machine = _machine_words(dataset)
    for path, value, vr, encoded in _tolerant_walk(dataset):
        tag = path[-1]
        if vr == "PN" and tag not in IDENTIFIERS and set(WORD.findall(_folded(_plain(value)))) <= machine:
            continue  # scanners sign as Content Creator with their model's name, which is kept
        if vr == "UI" or tag == 0x0040A124:
            needles.uids.update(UID_FORM.findall(_plain(value)))
        elif vr == "PN" or tag in IDENTIFIERS:
            _add_identifier(needles, _plain(value), encoded, is_name=vr == "PN")
        elif tag == BIRTH_DATE:
            needles.phrases.update(_date_forms(_plain(value)))
        if vr in ("DA", "DT") and tag != BIRTH_DATE:
            needles.dates.setdefault(path, []).extend(_components(value))
        if vr in TEXT_VRS:
            needles.uids.update(uid for uid in UID_FORM.findall(_plain(value)) if len(uid) > 15)
    meta = getattr(dataset, "file_meta", {})
    needles.uids.update(UID_FORM.findall(_plain(meta.get("MediaStorageSOPInstanceUID"))))
    for text in known:
        _add_identifier(needles, text, b"", is_name="^" in text)
    needles.uids -= set(UID_dictionary)
    return needles


def _machine_words(dataset: Dataset) -> set[str]:
    """Words of manufacturer and model, which are no person's name unless it is the patient's."""
    named = (dataset.get(tag) for tag in (MANUFACTURER, MODEL_NAME))
    return {word for element in named if element is not None for word in WORD.findall(_folded(_plain(element.value)))}


def _add_identifier(needles: _Needles, text: str, encoded: bytes, is_name: bool) -> None:
    whole = _folded(text).strip(" ^=\\")
    if not whole or whole in ("none", "unknown", "anonymous", "removed"):
        return
    raw = encoded.strip(b" \0^")
    if len(raw) >= SHORTEST_RAW and len(set(raw)) > 2:
        needles.raw.add(raw)
    parts = set(WORD.findall(whole)) | ({whole} if len(whole) >= SHORTEST_RAW else set())
    for part in parts:
        ideographic = any(ord(letter) > 0x2E80 for letter in part)
        shortest = SHORTEST_NUMBER if any(map(str.isdigit, part)) or not is_name else SHORTEST_NAME
        if len(part) < (2 if ideographic else shortest):
            if part == whole and len(part) >= SHORTEST_NAME:
                needles.whole.add(part)
            continue
        (needles.phrases if ideographic or len(part) >= SHORTEST_RAW else needles.words).add(part)
    for part in {*parts, *WORD.findall(text), text.strip()}:
        needles.raw.update(_encoded(part))


@lru_cache(maxsize=4096)
def _encoded(part: str) -> frozenset[bytes]:
    forms = set()
    for form in {part, part.upper(), part.lower(), part.title()}:
        for encoding in USUAL_ENCODINGS:
            try:
                forms.add(form.encode(encoding))
            except UnicodeEncodeError:
                continue
    return frozenset(form for form in forms if len(form) >= SHORTEST_RAW and len(set(form)) > 2)


def _date_forms(value: str) -> set[str]:
    digits = re.sub(r"\D", "", value)[:8]
    if len(digits) < 8:
        return set()
    year, month, day = digits[:4], digits[4:6], digits[6:8]
    return {
        digits,
        f"{year}-{month}-{day}",
        f"{day}.{month}.{year}",
        f"{month}/{day}/{year}",
        f"{day}/{month}/{year}",
        f"{day}{month}{year}",
        f"{year}/{month}/{day}",
    }


def _element(path: tuple[int, ...], element: DataElement, needles: _Needles) -> list[Finding]:
    vr, tag = str(element.VR), path[-1]
    if vr == "UI":
        hit = any(uid in needles.uids for uid in _components(element.value))
        return [Finding("uid", _where(path))] if hit else []
    if vr not in TEXT_VRS and vr not in SHORT_VRS:
        return []
    found = []
    if tag >> 16 & 1 == 0 and not dictionary_has_tag(tag):
        found.append(Finding("claim", f"{_where(path)} is unknown to the dictionary"))
    for component in _components(element.value):
        folded = _folded(component)
        if vr in SHORT_VRS:
            hit = folded in needles.words or folded in needles.phrases
        else:
            hit = (
                folded in needles.whole
                or any(phrase in folded for phrase in needles.phrases)
                or not needles.words.isdisjoint(WORD.findall(folded))
                or any(uid in needles.uids for uid in UID_FORM.findall(component))
            )
        if hit:
            found.append(Finding("identifier", _where(path)))
            break
    return found


def _dates(path: tuple[int, ...], element: DataElement, needles: _Needles, claims: Claims) -> list[Finding]:
    if str(element.VR) not in ("DA", "DT"):
        return []
    produced = [value for value in _components(element.value) if value and not value.startswith("19000101")]
    if not produced:
        return []
    if claims.shift_days is None:
        return [Finding("date", _where(path))]
    expected = {_moved(value, claims.shift_days) for value in needles.dates.get(path, ())}
    return [] if all(value[:8] in expected for value in produced) else [Finding("date", _where(path))]


def _moved(value: str, days: int) -> str:
    digits = re.sub(r"\D", "", value)[:8]
    try:
        moved = date(int(digits[:4]), int(digits[4:6]), int(digits[6:])) + timedelta(days=days)
    except (ValueError, OverflowError):
        return ""
    return f"{moved.year:04d}{moved:%m%d}"


def _meta(dataset: Dataset, produced: bytes) -> list[Finding]:
    meta = dataset.file_meta
    found = [] if not any(produced[:128]) else [Finding("meta", "the preamble is not empty")]
    if meta.get("MediaStorageSOPInstanceUID") != dataset.get("SOPInstanceUID"):
        found.append(Finding("meta", "the SOP Instance UIDs of file meta and data set differ"))
    if meta.get("MediaStorageSOPClassUID") != dataset.get("SOPClassUID"):
        found.append(Finding("meta", "the SOP Class UIDs of file meta and data set differ"))
    allowed = {0x00020000, 0x00020001, 0x00020002, 0x00020003, 0x00020010, 0x00020012, 0x00020013}
    found += [Finding("meta", _where((int(tag),))) for tag in meta.keys() if int(tag) not in allowed]  # noqa: SIM118
    for tag in dataset.keys():  # noqa: SIM118 - iterating a data set decodes it
        group = tag.group
        if group in (2, 4) or 0x5000 <= group <= 0x50FF or 0x6000 <= group <= 0x60FF or group >= 0xFFFA:
            found.append(Finding("claim", _where((int(tag),))))
    return found


def _claims(dataset: Dataset, claims: Claims) -> list[Finding]:
    found = []
    if dataset.get("PatientIdentityRemoved") != "YES":
        found.append(Finding("claim", "Patient Identity Removed is not YES"))
    stated = {item.get("CodeValue") for item in dataset.get("DeidentificationMethodCodeSequence") or ()}
    if not set(claims.codes) <= stated:
        found.append(Finding("claim", "De-identification Method Code Sequence lacks a code"))
    temporal = {None: "REMOVED", 0: "UNMODIFIED"}.get(claims.shift_days, "MODIFIED")
    if dataset.get("LongitudinalTemporalInformationModified") != temporal:
        found.append(Finding("claim", "Longitudinal Temporal Information Modified is wrong"))
    return found


def _pixel_bytes(dataset: Dataset) -> bytes:
    pixels = dataset.get_item(PIXEL_DATA)
    return pixels.value if pixels is not None and isinstance(pixels.value, bytes) else b""


def _raw(produced: bytes, needles: _Needles, pixels: bytes) -> list[Finding]:
    """Needles in the bytes: in the header in any case of letters, in the pixels as they are written."""
    wanted = needles.raw | {uid.encode() for uid in needles.uids if len(uid) >= 12}
    if not wanted:
        return []
    header = produced[: len(produced) - len(pixels)].lower() if pixels else produced.lower()
    found = [Finding("raw-bytes", "in the header")] if any(needle.lower() in header for needle in wanted) else []
    pattern = re.compile(b"|".join(re.escape(needle) for needle in sorted(wanted)))
    if pattern.search(produced):
        found.append(Finding("raw-bytes", "in the file"))
    return found


def _components(value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str | bytes | PersonName) or not hasattr(value, "__iter__"):
        return _plain(value).split("\\")
    return [_plain(part) for part in value]


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("latin-1").strip(" \0")
    if not isinstance(value, str) and not isinstance(value, PersonName) and hasattr(value, "__iter__"):
        return "\\".join(_plain(part) for part in value)
    return str(value).strip(" \0")


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _where(path: tuple[int, ...]) -> str:
    return " > ".join(f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag in path)
