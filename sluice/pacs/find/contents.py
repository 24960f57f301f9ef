"""The series and instances of studies, complete or said not to be (PS3.4 C.6.2, Study Root).

Asked by lists of UIDs where the PACS matches those (tried once and compared with single questions), else study by
study and series by series. An answer that looks cut is split by what the standard makes a PACS match at that level:
series by Modality and Series Number, instances by Instance Number, each a single value. What a series holds is what
its IMAGE level answers; the PACS's own number of instances is a hint that an answer may be cut, never the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pydicom.dataset import Dataset

from sluice.pacs.answers import text
from sluice.pacs.find.pieces import MODALITIES
from sluice.pacs.find.splitting import FILL, Facts, is_round
from sluice.pacs.outcomes import Found

SERIES_KEYS = (
    "StudyInstanceUID", "SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription",
    "NumberOfSeriesRelatedInstances",
)  # fmt: skip
IMAGE_KEYS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "InstanceNumber")
UNIQUE = {"SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
NUMBER = {"SERIES": "SeriesNumber", "IMAGE": "InstanceNumber"}
WANTED = {"SERIES": SERIES_KEYS, "IMAGE": IMAGE_KEYS}
STUDIES_A_QUERY = 20
SERIES_A_QUERY = 40  # UIDs of 64 characters; an identifier stays below 4 KiB
INSTANCES_A_QUERY = 1_000
TRIED_TOGETHER = 3  # studies asked singly and together, to learn whether the PACS matches lists
MOST_NUMBERS = 3_000  # single questions for the numbers of one series
MISSES = 10  # numbers in a row without an instance, beyond the highest one known, after which there is no more

Keys = Mapping[str, str | list[str]]
SeriesOf = Mapping[str, Dataset]  # a study's series: UID → answer


@dataclass
class Leaf:
    """One query below STUDY level, with the leaf it was split from; `leaf_id` is set when it is written."""

    level: str
    keys: Keys
    found: Found
    parent: Leaf | None = None
    was_split: bool = False
    leaf_id: int | None = None

    @property
    def count(self) -> int:
        """Pending responses, unreadable ones included."""
        return len(self.found.answers) + self.found.unreadable


@dataclass(frozen=True)
class Listed:
    """One instance as IMAGE level names it."""

    series: str
    sop_class: str | None
    modality: str | None
    leaf: Leaf


@dataclass
class Contents:
    """What one study holds.

    Attributes:
        leaves: the queries that showed it, those shared with other studies too.
        series: Series Instance UIDs.
        expected: instances by SOP Instance UID.
        is_proven: whether nothing looks cut.
    """

    leaves: list[Leaf] = field(default_factory=list)
    series: set[str] = field(default_factory=set)
    expected: dict[str, Listed] = field(default_factory=dict)
    is_proven: bool = True


@dataclass
class _Level:
    """All rows of one question, split where it looked cut."""

    rows: dict[str, tuple[Dataset, Leaf]] = field(default_factory=dict)
    leaves: list[Leaf] = field(default_factory=list)
    is_proven: bool = True
    came_again: set[str] = field(default_factory=set)

    def add(self, rows: Mapping[str, Dataset], leaf: Leaf) -> None:
        """Rows that a piece of the whole brought."""
        self.leaves.append(leaf)
        self.came_again |= rows.keys()
        for uid, answer in rows.items():
            self.rows.setdefault(uid, (answer, leaf))


@dataclass
class ContentsReader:
    """Reads what studies hold.

    Args:
        ask: one C-FIND: level, matching keys, return keys; a failure without any answer is raised.

    Attributes:
        uncertain: answers that look cut and could not be split.
        contradicted: series with fewer instances than the PACS's number, though nothing was cut.
        unusable: answers without a UID.
        splits: answers that were split.
    """

    ask: Callable[[str, Keys, tuple[str, ...]], Found]
    facts: Facts
    uncertain: int = 0
    contradicted: int = 0
    unusable: int = 0
    splits: int = 0

    def read(self, studies: Mapping[str, int]) -> dict[str, Contents]:
        """Contents of some studies.

        Args:
            studies: Study Instance UID → number of its series as the PACS says, 0 where it does not.
        """
        contents: dict[str, Contents] = {}
        left = list(studies)
        if self.facts.lists is None and len(left) > 1:
            together, left = left[:TRIED_TOGETHER], left[TRIED_TOGETHER:]
            contents = {uid: self._one(uid, studies[uid]) for uid in together}
            self._try_lists(contents)
        if self.facts.lists:
            for start in range(0, len(left), STUDIES_A_QUERY):
                contents |= self._many({uid: studies[uid] for uid in left[start : start + STUDIES_A_QUERY]})
        else:
            contents |= {uid: self._one(uid, studies[uid]) for uid in left}
        return contents

    # --- by lists of UIDs ------------------------------------------------------------------------------------------

    def _try_lists(self, single: Mapping[str, Contents]) -> None:
        """Ask for several studies at once what was asked for each before, and compare."""
        series = {uid for contents in single.values() for uid in contents.series}
        instances = {uid for contents in single.values() for uid in contents.expected}
        full = [contents for contents in single.values() if contents.is_proven and contents.expected]
        if len(full) < len(single) or len(instances) > self._most():
            return  # nothing to compare with; the next ones may do
        keys: dict[str, str | list[str]] = {"StudyInstanceUID": list(single)}
        leaf = self._asked("SERIES", keys)
        agrees = set(self._rows(leaf)) == series and self._named(leaf, "StudyInstanceUID", single)
        if agrees:
            leaf = self._asked("IMAGE", keys | {"SeriesInstanceUID": sorted(series)})
            agrees = set(self._rows(leaf)) == instances and self._named(leaf, "SeriesInstanceUID", series)
        self.facts.lists = agrees

    def _many(self, studies: Mapping[str, int]) -> dict[str, Contents]:
        leaf = self._asked("SERIES", {"StudyInstanceUID": list(studies)})
        if self._looks_cut(leaf, 0) or not self._named(leaf, "StudyInstanceUID", studies):
            return {uid: self._one(uid, hint) for uid, hint in studies.items()}
        of_study: dict[str, dict[str, Dataset]] = {}
        for uid, answer in self._rows(leaf).items():
            of_study.setdefault(text(answer, "StudyInstanceUID"), {})[uid] = answer
        contents: dict[str, Contents] = {}
        for study, hint in studies.items():
            if len(of_study.get(study, {})) < max(1, hint):
                contents[study] = self._one(study, hint)
            else:
                contents[study] = Contents([leaf], set(of_study[study]))
        listed = {study: of_study[study] for study in contents if contents[study].leaves[:1] == [leaf]}
        self._instances(contents, listed)
        return contents

    def _instances(self, contents: Mapping[str, Contents], listed: Mapping[str, SeriesOf]) -> None:
        """IMAGE level of many series, several in one question as far as their numbers say that they fit."""
        alone: list[tuple[str, str]] = []
        together: list[tuple[str, str]] = []
        size = 0
        for study, series in listed.items():
            for uid, answer in series.items():
                hint = number_of(text(answer, "NumberOfSeriesRelatedInstances"))
                if not 0 < hint <= self._most():
                    alone.append((study, uid))
                    continue
                if size + hint > self._most() or len(together) == SERIES_A_QUERY:
                    alone += self._together(contents, listed, together)
                    together, size = [], 0
                together.append((study, uid))
                size += hint
        alone += self._together(contents, listed, together)
        for study, uid in alone:
            self._add_images(contents[study], study, uid, listed[study][uid])

    def _together(
        self,
        contents: Mapping[str, Contents],
        listed: Mapping[str, SeriesOf],
        of: Sequence[tuple[str, str]],
    ) -> list[tuple[str, str]]:
        """Ask for several series; return those that have to be asked for alone."""
        if len(of) < 2:
            return list(of)
        studies, series = list(dict.fromkeys(study for study, _ in of)), [uid for _, uid in of]
        leaf = self._asked("IMAGE", {"StudyInstanceUID": studies, "SeriesInstanceUID": series})
        rows = self._rows(leaf)
        if leaf.found.status != "0000" or leaf.count in self._caps("IMAGE"):
            return list(of)
        if not self._named(leaf, "SeriesInstanceUID", series):
            self.facts.lists = False
            return list(of)
        of_series: dict[str, list[tuple[str, Dataset]]] = {}
        for uid, answer in rows.items():
            of_series.setdefault(text(answer, "SeriesInstanceUID"), []).append((uid, answer))
        alone: list[tuple[str, str]] = []
        for study, uid in of:
            found = of_series.get(uid, [])
            if len(found) != number_of(text(listed[study][uid], "NumberOfSeriesRelatedInstances")):
                alone.append((study, uid))
                continue
            modality = text(listed[study][uid], "Modality") or None
            for sop, answer in found:
                contents[study].expected.setdefault(sop, _listed(answer, uid, modality, leaf))
            contents[study].leaves.append(leaf)
        return alone

    # --- one by one ------------------------------------------------------------------------------------------------

    def _one(self, study: str, hint: int) -> Contents:
        level = self._covered("SERIES", {"StudyInstanceUID": study}, hint)
        contents = Contents(level.leaves, set(level.rows), is_proven=level.is_proven)
        for uid, (answer, _) in level.rows.items():
            self._add_images(contents, study, uid, answer)
        return contents

    def _add_images(self, contents: Contents, study: str, series: str, answer: Dataset) -> None:
        hint = number_of(text(answer, "NumberOfSeriesRelatedInstances"))
        level = self._covered("IMAGE", {"StudyInstanceUID": study, "SeriesInstanceUID": series}, hint)
        modality = text(answer, "Modality") or None
        for sop, (image, leaf) in level.rows.items():
            contents.expected.setdefault(sop, _listed(image, series, modality, leaf))
        contents.leaves += level.leaves
        contents.is_proven = contents.is_proven and level.is_proven

    def _covered(self, level: str, keys: Keys, hint: int) -> _Level:
        whole = self._asked(level, keys)
        result = _Level({uid: (answer, whole) for uid, answer in self._rows(whole).items()}, [whole])
        short = 0 < len(result.rows) < hint
        if not self._looks_cut(whole, hint):
            self._note_largest(whole)
            self.contradicted += short
            return result
        self.splits += 1
        whole.was_split = True
        before = len(result.rows)
        if level == "SERIES":
            result.is_proven = self._by_modality(whole, result)
            if len(result.rows) < hint:
                result.is_proven = self._by_number(whole, result) and result.is_proven
        else:
            result.is_proven = self._by_number(whole, result)
        if len(result.rows) > before and whole.found.status == "0000":
            self.facts.level_caps[level] = whole.count
        elif result.is_proven:
            self._note_largest(whole)
        if result.is_proven:
            self.contradicted += len(result.rows) < hint
        else:
            self.uncertain += 1
        return result

    def _by_modality(self, whole: Leaf, result: _Level) -> bool:
        """Series by Modality, and within one by Series Number; True when what was seen came again that way."""
        wanted = set(result.rows)
        names = [text(answer, "Modality") for answer in whole.found.answers]
        proven = True
        for name in dict.fromkeys([*(name for name in names if name), *MODALITIES]):
            leaf = self._asked("SERIES", {**whole.keys, "Modality": name}, whole)
            rows = self._rows(leaf)
            result.add(rows, leaf)
            if any(text(answer, "Modality") not in ("", name) for answer in rows.values()):
                return self._by_number(whole, result)  # it does not match by modality
            if leaf.found.status != "0000" or (leaf.count > 1 and leaf.count >= whole.count):
                leaf.was_split = True
                proven = self._by_number(leaf, result) and proven
        return proven and wanted <= result.came_again

    def _by_number(self, whole: Leaf, result: _Level) -> bool:
        """Rows by their number, one question each; True when every number up to the last was asked for."""
        level, keyword = whole.level, NUMBER[whole.level]
        known = [text(answer, keyword) for answer in self._rows(whole).values()]
        numbers = [int(value) for value in known if value.lstrip("-").isdecimal()]
        if len(numbers) < len(known) or (numbers and not self._matches_number(whole, result, numbers[0])):
            return False
        seen = set(numbers) if len(set(numbers)) == len(numbers) else set()
        number, misses, asked = 0, 0, 0
        highest = max([0, *numbers])
        while number <= highest or misses < MISSES:
            if asked == MOST_NUMBERS:
                return False
            if number not in seen:
                leaf = self._asked(level, {**whole.keys, keyword: str(number)}, whole)
                asked += 1
                rows = self._rows(leaf)
                if leaf.found.status != "0000" or (len(rows) > 1 and leaf.count >= whole.count):
                    return False
                misses = 0 if rows else misses + 1
                if rows:
                    result.add(rows, leaf)
            number += 1
        return True

    def _matches_number(self, whole: Leaf, result: _Level, number: int) -> bool:
        """Whether the PACS matches by number: the answer to one must be of that number, and not be empty."""
        leaf = self._asked(whole.level, {**whole.keys, NUMBER[whole.level]: str(number)}, whole)
        rows = self._rows(leaf)
        result.add(rows, leaf)
        return bool(rows) and all(text(answer, NUMBER[whole.level]) == str(number) for answer in rows.values())

    # --- reading answers -------------------------------------------------------------------------------------------

    def _asked(self, level: str, keys: Keys, parent: Leaf | None = None) -> Leaf:
        leaf = Leaf(level, keys, self.ask(level, keys, WANTED[level]), parent)
        self.unusable += sum(not text(answer, UNIQUE[level]) for answer in leaf.found.answers)
        return leaf

    def _rows(self, leaf: Leaf) -> dict[str, Dataset]:
        rows: dict[str, Dataset] = {}
        for answer in leaf.found.answers:
            uid = text(answer, UNIQUE[leaf.level])
            if uid:
                rows.setdefault(uid, answer)  # some PACS answer a series once a scanner station
        return rows

    def _named(self, leaf: Leaf, keyword: str, allowed: Iterable[str]) -> bool:
        """Whether each answer says to which of those asked for it belongs."""
        known = set(allowed)
        return all(text(answer, keyword) in known for answer in leaf.found.answers)

    def _looks_cut(self, leaf: Leaf, hint: int) -> bool:
        if leaf.found.status != "0000":
            return True
        largest = self.facts.level_largest.get(leaf.level, 0)
        if leaf.count == self.facts.level_caps.get(leaf.level):
            return True
        if hint:
            return 0 < leaf.count < hint and leaf.count >= largest
        return leaf.count in self._caps(leaf.level) or (is_round(leaf.count) and leaf.count > largest)

    def _note_largest(self, leaf: Leaf) -> None:
        largest = self.facts.level_largest
        largest[leaf.level] = max(leaf.count, largest.get(leaf.level, 0))

    def _caps(self, level: str) -> set[int | None]:
        """Counts at which an answer of this level may be cut: a PACS often has one cap for all."""
        return {self.facts.level_caps.get(level), self.facts.cap} - {None}

    def _most(self) -> float:
        caps = [cap for cap in (*self._caps("IMAGE"), self.facts.limit) if cap]
        return min([INSTANCES_A_QUERY, *(cap * FILL for cap in caps)])


def _listed(answer: Dataset, series: str, modality: str | None, leaf: Leaf) -> Listed:
    return Listed(text(answer, "SeriesInstanceUID") or series, text(answer, "SOPClassUID") or None, modality, leaf)


def number_of(value: str) -> int:
    """An IS value as a number; 0 where it is none."""
    return int(value) if value.isdecimal() else 0
