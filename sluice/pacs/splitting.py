"""How a sweep gets everything out of a PACS that caps its answers.

A PACS may stop after N answers: with warning B001, with a failure such as A700, or silently with success.
N is learned, never asked of the user:

- a PACS that once gave n answers has a cap of n or more, so **an answer smaller than the largest ever seen is
  complete**; one as large as the largest, or suspiciously round, is probed by splitting it;
- when the pieces together hold more than the whole, the whole was cut and its size is the cap.

Pieces are halves of the date range, then of the time of day, then modalities, then prefixes of patient id and
accession number. A split proves completeness only if no study escapes its pieces (a study without a Study Time
matches no time range, PS3.4 C.2.2.2.5), so what the whole showed must come again in the pieces, else the next
kind of split is tried on the whole as well. How a PACS treats studies without a time is learned once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

from pydicom.dataset import Dataset

from sluice.pacs.answers import seconds_of_day, text, words

DAY_S = 86_400
SMALLEST_CAP = 2  # nobody caps at one answer
MODALITIES = (
    "CR", "CT", "DX", "MG", "MR", "NM", "US", "XA", "RF", "PT", "OT", "PX", "IO", "SR", "KO", "PR", "SC", "ES", "XC",
    "DR", "ECG", "DOC", "GM", "SM", "OP", "OPT", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTIMAGE", "SEG", "REG", "BMD",
    "IVUS", "HD", "AU",
)  # fmt: skip
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_./ "


@dataclass(frozen=True)
class Piece:
    """What one STUDY-level C-FIND asks for.

    Attributes:
        starts_on, ends_on: study dates, both inclusive.
        from_s, to_s: time of day in seconds; 0 and 86400 together mean any time or none.
        modality: Modalities in Study (0008,0061).
        patient_id, accession: matching values, a trailing `*` for a prefix.
        fixed: further matching keys that every piece carries.
    """

    starts_on: date
    ends_on: date
    from_s: int = 0
    to_s: int = DAY_S
    modality: str | None = None
    patient_id: str | None = None
    accession: str | None = None
    fixed: tuple[tuple[str, str], ...] = ()

    def keys(self) -> dict[str, str]:
        """Matching keys by DICOM keyword. Time ranges are open at midnight and share their bounds with the
        neighbouring piece, so that neither `1015` nor `101500.5` falls between two of them."""
        keys = dict(self.fixed)
        first, last = f"{self.starts_on:%Y%m%d}", f"{self.ends_on:%Y%m%d}"
        keys["StudyDate"] = first if first == last else f"{first}-{last}"
        if (self.from_s, self.to_s) != (0, DAY_S):
            keys["StudyTime"] = f"{_hms(self.from_s)}-{_hms(self.to_s)}"
        for keyword, value in (
            ("ModalitiesInStudy", self.modality),
            ("PatientID", self.patient_id),
            ("AccessionNumber", self.accession),
        ):
            if value is not None:
                keys[keyword] = value
        return keys


@dataclass
class Asked:
    """The answer to one piece.

    Attributes:
        answers: answers by Study Instance UID.
        count: pending responses, duplicates and unusable ones included: what a cap counts.
        status: final status, four hex digits.
        leaf_id: its row in `sweep_leaf`.
    """

    answers: dict[str, Dataset]
    count: int
    status: str
    leaf_id: int | None = None

    @property
    def failed(self) -> bool:
        """Whether the PACS answered with a failure and nothing else."""
        return self.count == 0 and self.status != "0000"


@dataclass
class Facts:
    """What has been learned about one PACS; kept in `pacs_fact`.

    Attributes:
        cap: answers after which it stops; None while nothing proves one.
        largest: the most answers that it ever gave to one query.
        timeless: whether it holds studies that no time range matches; None until checked.
    """

    cap: int | None = None
    largest: int = 0
    timeless: bool | None = None


@dataclass
class Splitter:
    """Covers a piece completely, asking as often as it takes.

    Args:
        ask: asks one piece; the second argument is the leaf it was split from.
        refuse: makes the error for a status that splitting cannot help.
        on_split: told the leaf that was split.
    """

    ask: Callable[[Piece, int | None], Asked]
    facts: Facts
    refuse: Callable[[str], Exception]
    on_split: Callable[[int | None], None] = lambda leaf: None
    ignored: set[str] = field(default_factory=set)
    uncertain: int = 0
    splits: int = 0

    def cover(self, piece: Piece) -> dict[str, Dataset]:
        """Every study of the piece, by Study Instance UID."""
        return self._cover(piece, self.ask(piece, None))

    def _cover(self, piece: Piece, whole: Asked) -> dict[str, Dataset]:
        if whole.failed and not whole.status.startswith(("A7", "B", "C", "FE", "0110")):
            raise self.refuse(whole.status)
        if self._complete(whole):
            return whole.answers
        self.splits += 1
        self.on_split(whole.leaf_id)
        known, proven = dict(whole.answers), False
        for kind, pieces in _splits(piece, known):
            untimed = kind == "time" and (piece.from_s, piece.to_s) == (0, DAY_S)  # it may hide studies without a time
            if kind in self.ignored or not self._worth(kind, whole) or (untimed and self.facts.timeless):
                continue
            covered = self._cover_all(kind, piece, pieces, whole)
            if covered is None:
                continue
            escaped = known.keys() - covered.keys()
            found_more = bool(covered.keys() - known.keys())
            if kind == "modality" and self.facts.timeless is None and _is_whole_day(piece):
                self.facts.timeless = found_more
            if untimed and escaped:
                self.facts.timeless = True
            known |= covered
            if found_more and whole.status == "0000":
                self.facts.cap = whole.count
            if not escaped and not (untimed and self.facts.timeless is not False and self._is_cut(whole)):
                proven = True
                break
        if not proven and self._is_cut(whole):
            if whole.failed:
                raise self.refuse(whole.status)
            self.uncertain += 1
        return known

    def _cover_all(self, kind: str, piece: Piece, pieces: Iterator[Piece], whole: Asked) -> dict[str, Dataset] | None:
        """What the pieces hold together; None when the PACS does not match by this key."""
        covered: dict[str, Dataset] = {}
        failures = 0
        for part in pieces:
            asked = self.ask(part, whole.leaf_id)
            if any(not _matches(kind, part, answer) for answer in asked.answers.values()):
                self.ignored.add(kind)
                return None
            failures += asked.failed
            if whole.failed and failures == 2:
                raise self.refuse(asked.status)
            covered |= self._cover(part, asked)
        return covered

    def _complete(self, asked: Asked) -> bool:
        if asked.status != "0000":
            return False
        if asked.count < SMALLEST_CAP:
            return True
        if self.facts.cap is not None and asked.count > self.facts.cap:
            self.facts.cap = None  # it was raised since
        suspicious = asked.count >= self.facts.largest or _is_round(asked.count) or asked.count == self.facts.cap
        self.facts.largest = max(self.facts.largest, asked.count)
        return not suspicious

    def _is_cut(self, asked: Asked) -> bool:
        return asked.status != "0000" or asked.count == self.facts.cap

    def _worth(self, kind: str, whole: Asked) -> bool:
        """A mere suspicion is probed by date, time and modality; prefixes cost hundreds of queries."""
        return kind in ("date", "time", "modality") or self._is_cut(whole) or _is_round(whole.count)


def _splits(piece: Piece, seen: Mapping[str, Dataset]) -> Iterator[tuple[str, Iterator[Piece]]]:
    """The kinds of split that this piece still allows, cheapest and surest first."""
    if piece.starts_on < piece.ends_on:
        middle = piece.starts_on + (piece.ends_on - piece.starts_on) // 2
        halves = (replace(piece, ends_on=middle), replace(piece, starts_on=middle + timedelta(days=1)))
        yield "date", iter(halves)
        return
    if piece.to_s - piece.from_s > 1:
        noon = (piece.from_s + piece.to_s) // 2
        yield "time", iter((replace(piece, to_s=noon), replace(piece, from_s=noon)))
    if piece.modality is None:
        names = dict.fromkeys(
            [*(m for answer in seen.values() for m in words(answer, "ModalitiesInStudy")), *MODALITIES]
        )
        yield "modality", (replace(piece, modality=name) for name in names)
    if _open_prefix(piece.patient_id):
        values = [text(answer, "PatientID") for answer in seen.values()]
        yield "patient_id", (replace(piece, patient_id=value) for value in _prefixes(piece.patient_id, values))
    if _open_prefix(piece.accession):
        values = [text(answer, "AccessionNumber") for answer in seen.values()]
        yield "accession", (replace(piece, accession=value) for value in _prefixes(piece.accession, values))


def _prefixes(pattern: str | None, seen: list[str]) -> Iterator[str]:
    """Patterns one character longer, characters that were seen first, and the prefix itself as a whole value."""
    prefix = (pattern or "*")[:-1]
    following = [value[len(prefix)] for value in seen if value.startswith(prefix) and len(value) > len(prefix)]
    characters = [character for character in dict.fromkeys([*following, *ALPHABET]) if character not in "*?\\"]
    if prefix:
        yield prefix
    for character in characters:
        yield f"{prefix}{character}*"


def _open_prefix(pattern: str | None) -> bool:
    return pattern is None or (pattern.endswith("*") and len(pattern) <= 64)


def _matches(kind: str, piece: Piece, answer: Dataset) -> bool:
    """Whether an answer belongs to its piece, as far as its return keys show."""
    if kind == "time":
        second = seconds_of_day(text(answer, "StudyTime"))
        return second is None or piece.from_s - 60 <= second <= piece.to_s + 60
    if kind == "modality":
        names = words(answer, "ModalitiesInStudy")
        return not names or piece.modality in names
    if kind == "date":
        day = text(answer, "StudyDate")
        return not day or f"{piece.starts_on:%Y%m%d}" <= day.replace(".", "") <= f"{piece.ends_on:%Y%m%d}"
    keyword, pattern = ("PatientID", piece.patient_id) if kind == "patient_id" else ("AccessionNumber", piece.accession)
    value = text(answer, keyword).casefold()
    wanted = (pattern or "*").casefold()
    return not value or (value.startswith(wanted[:-1]) if wanted.endswith("*") else value == wanted.strip())


def _is_whole_day(piece: Piece) -> bool:
    return (piece.from_s, piece.to_s, piece.modality, piece.patient_id) == (0, DAY_S, None, None)


def _is_round(count: int) -> bool:
    return count >= 50 and (count % 50 == 0 or count & (count - 1) == 0)


def _hms(second: int) -> str:
    if second in (0, DAY_S):
        return ""
    return f"{second // 3600:02d}{second // 60 % 60:02d}{second % 60:02d}"
