"""What one STUDY-level query asks for, and the ways in which it can be cut into smaller ones (PS3.4 C.2.2.2).

A way is a key that the PACS must match by (Study Date, Study Time, Patient ID and Accession Number are Required Keys,
PS3.4 table C.6-5; Modalities in Study is optional). Pieces of one way may overlap, but must leave nothing out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise

from pydicom.charset import python_encoding
from pydicom.dataset import Dataset

from sluice.pacs.answers import day_of, seconds_of_day, text, words
from sluice.pacs.find.density import DAY_S, Density

MODALITIES = (
    "CR", "CT", "DX", "MG", "MR", "NM", "US", "XA", "RF", "PT", "OT", "PX", "IO", "SR", "KO", "PR", "SC", "ES", "XC",
    "DR", "ECG", "DOC", "GM", "SM", "OP", "OPT", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTIMAGE", "SEG", "REG", "BMD",
    "IVUS", "HD", "AU",
)  # fmt: skip
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_./ "
WILDCARDS = "*?\\"
KEYWORDS = {"patient_id": "PatientID", "accession": "AccessionNumber", "modality": "ModalitiesInStudy"}
LONGEST_BLIND = 31  # days in one query while nothing is known of how many studies they hold
PEAK_SHARE = 0.4  # of the answers at one second: that second is asked for by itself


@dataclass(frozen=True)
class Piece:
    """What one STUDY-level C-FIND asks for.

    Attributes:
        starts_on, ends_on: study dates, both inclusive.
        from_s, to_s: time of day in seconds; 0 and 86400 together mean any time or none.
        modality: Modalities in Study (0008,0061).
        patient_id, accession: matching values; `7*` for those that begin with 7, `*7` for those that end so.
        charset: Specific Character Set (0008,0005) of the values, where they are not ASCII.
    """

    starts_on: date
    ends_on: date
    from_s: int = 0
    to_s: int = DAY_S
    modality: str | None = None
    patient_id: str | None = None
    accession: str | None = None
    charset: str | None = None

    @property
    def any_time(self) -> bool:
        """Whether studies without a time are in it too."""
        return (self.from_s, self.to_s) == (0, DAY_S)

    @property
    def values(self) -> tuple[str | None, str | None, str | None]:
        """What it asks for beside date and time."""
        return self.modality, self.patient_id, self.accession

    def keys(self) -> dict[str, str]:
        """Matching keys by DICOM keyword. Time ranges are open at midnight and share their bounds with the
        neighbouring piece, so that neither `1015` nor `101500.5` falls between two of them."""
        first, last = f"{self.starts_on:%Y%m%d}", f"{self.ends_on:%Y%m%d}"
        keys = {"StudyDate": first if first == last else f"{first}-{last}"}
        if not self.any_time:
            keys["StudyTime"] = f"{_hms(self.from_s)}-{_hms(self.to_s)}"
        for keyword, value in (
            ("ModalitiesInStudy", self.modality),
            ("PatientID", self.patient_id),
            ("AccessionNumber", self.accession),
            ("SpecificCharacterSet", self.charset),
        ):
            if value is not None:
                keys[keyword] = value
        return keys


@dataclass(frozen=True)
class Way:
    """One way to cut a piece.

    Attributes:
        name: `date`, `time`, `modality`, or what is matched and from which end, such as `patient_id_end`.
        field: attribute of `Piece` that it narrows.
        at_end: whether values are matched by how they end.
    """

    name: str
    field: str = ""
    at_end: bool = False


BY_DATE, BY_TIME, BY_MODALITY = Way("date"), Way("time"), Way("modality", "modality")
BY_PATIENT_END = Way("patient_id_end", "patient_id", at_end=True)
# The last digits of a number that is counted up are spread evenly, its first ones are not; hence ends come first.
# They also come before modalities, of which two or three make up most of a day.
WAYS = (
    BY_DATE,
    BY_TIME,
    BY_PATIENT_END,
    BY_MODALITY,
    Way("patient_id_start", "patient_id"),
    Way("accession_end", "accession", at_end=True),
    Way("accession_start", "accession"),
)
BY_NAME = {way.name: way for way in WAYS}


def ways(piece: Piece) -> Iterator[Way]:
    """The ways that this piece still allows, cheapest and surest first."""
    if piece.starts_on < piece.ends_on:
        if piece.patient_id is None:
            yield BY_PATIENT_END
        yield BY_DATE
        return
    for way in WAYS[1:]:
        if way is BY_TIME:
            if piece.to_s - piece.from_s > 1:
                yield way
        elif way is BY_MODALITY:
            if piece.modality is None:
                yield way
        elif _open(getattr(piece, way.field), way.at_end):
            yield way


def by_date(piece: Piece, density: Density, target: Callable[[], float], split: bool) -> Iterator[Piece]:
    """Runs of days that hold about `target()` studies, as far as the density knows when each is taken.

    Args:
        split: the piece was asked and is too much, so none of its parts may be as long as it.
    """
    day, days = piece.starts_on, 0
    longest = (piece.ends_on - piece.starts_on).days + 1
    most = max(1, longest // 2) if split else longest
    while day <= piece.ends_on:
        # Empty days teach little of those after them, so runs grow by steps, and not far while nothing was found.
        step = max(1, 4 * days) if density.of_day(day) else min(max(1, 4 * days), LONGEST_BLIND)
        days = density.days_within(day, piece.ends_on, target(), min(most, step))
        last = min(day + timedelta(days=days - 1), piece.ends_on)
        yield replace(piece, starts_on=day, ends_on=last)
        day = last + timedelta(days=1)


def by_time(
    piece: Piece, density: Density, target: float, seen: Mapping[str, Dataset], at_least: int
) -> Iterator[Piece]:
    """Times of day that hold about `target` studies each; a second at which many of those seen lie stands alone."""
    edges = _around_peak(piece, seen)
    if edges:
        for first, last in pairwise(edges):
            yield replace(piece, from_s=first, to_s=last)
        return
    start = piece.from_s
    while start < piece.to_s:
        end = density.cut(piece.starts_on, piece.from_s, start, piece.to_s, target, at_least)
        yield replace(piece, from_s=start, to_s=end)
        start = end


def _around_peak(piece: Piece, seen: Mapping[str, Dataset]) -> list[int]:
    seconds = Counter(seconds_of_day(text(answer, "StudyTime")) for answer in seen.values())
    seconds.pop(None, None)
    if not seconds:
        return []
    (peak, count) = seconds.most_common(1)[0]
    if peak is None or count < PEAK_SHARE * len(seen) or count < 3:
        return []
    edges = sorted({piece.from_s, max(piece.from_s, peak), min(piece.to_s, peak + 1), piece.to_s})
    return edges if len(edges) > 2 else []


def by_modality(piece: Piece, seen: Mapping[str, Dataset], names: Sequence[str]) -> Iterator[Piece]:
    """One piece for each modality, those that were seen first."""
    for name in dict.fromkeys([*shown(BY_MODALITY, 0, seen.values()), *names]):
        if not set(name) & set(WILDCARDS):
            yield replace(piece, modality=name)


def by_character(piece: Piece, way: Way, seen: Mapping[str, Dataset], alphabet: Sequence[str]) -> Iterator[Piece]:
    """Patterns one character longer, characters that were seen first, and what is fixed so far as a whole value.

    `*`, `?` and backslash cannot be asked for (PS3.4 C.2.2.2.4); a value that has one at this place is noticed when
    none of the pieces brings it again.
    """
    stem = stem_of(piece, way)
    following: dict[str, str | None] = {}
    for answer in seen.values():
        character = next_character(text(answer, KEYWORDS[way.field]), stem, way.at_end)
        if character and character not in following:
            charset = text(answer, "SpecificCharacterSet")
            following[character] = charset if not character.isascii() and charset in python_encoding else None
    if stem:
        yield _narrowed(piece, way, stem, piece.charset)
    for character in [*following, *(other for other in alphabet if other not in following)]:
        # a blank alone is padding, and `* ` would ask for everything
        if character not in WILDCARDS and (stem or character != " "):
            value = f"*{character}{stem}" if way.at_end else f"{stem}{character}*"
            yield _narrowed(piece, way, value, following.get(character) or piece.charset)


def _narrowed(piece: Piece, way: Way, value: str, charset: str | None) -> Piece:
    if way.field == "patient_id":
        return replace(piece, patient_id=value, charset=charset)
    return replace(piece, accession=value, charset=charset)


def stem_of(piece: Piece, way: Way) -> str:
    """What a piece fixes already of the values of a way."""
    return (getattr(piece, way.field, None) or "*").strip("*")


def shown(way: Way, depth: int, answers: Iterable[Dataset]) -> Iterator[str]:
    """The modalities, or the characters `depth` places from the start or end, that answers show."""
    for answer in answers:
        if way is BY_MODALITY:
            yield from words(answer, KEYWORDS[way.field])
        else:
            value = text(answer, KEYWORDS[way.field])
            if len(value) > depth:
                yield value[-1 - depth] if way.at_end else value[depth]


def next_character(value: str, stem: str, at_end: bool) -> str:
    """The character of a value beside what is fixed of it; empty where there is none."""
    if len(value) <= len(stem):
        return ""
    if at_end:
        return value[-len(stem) - 1] if value.endswith(stem) else ""
    return value[len(stem)] if value.startswith(stem) else ""


def _open(pattern: str | None, at_end: bool) -> bool:
    if pattern is None:
        return True
    return len(pattern) <= 64 and (pattern.startswith("*") if at_end else pattern.endswith("*"))


def belongs(way: Way, piece: Piece, answer: Dataset) -> bool:
    """Whether an answer belongs to its piece, as far as its return keys show."""
    if way is BY_TIME:
        second = seconds_of_day(text(answer, "StudyTime"))
        return second is None or piece.from_s - 60 <= second <= piece.to_s + 60
    if way is BY_MODALITY:
        names = words(answer, "ModalitiesInStudy")
        return not names or piece.modality in names
    if way is BY_DATE:
        day = day_of(text(answer, "StudyDate"))
        return day is None or piece.starts_on <= day <= piece.ends_on
    value = text(answer, KEYWORDS[way.field]).casefold()
    wanted = (getattr(piece, way.field) or "*").casefold()
    if not value or not value.isascii():  # what a PACS takes for the same letter elsewhere is its own affair
        return True
    if wanted.startswith("*"):
        return value.endswith(wanted[1:].rstrip())
    return value.startswith(wanted[:-1].lstrip()) if wanted.endswith("*") else value == wanted.strip()


def _hms(second: int) -> str:
    if second in (0, DAY_S):
        return ""
    return f"{second // 3600:02d}{second // 60 % 60:02d}{second % 60:02d}"
