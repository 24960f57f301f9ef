"""A PACS of many years, in memory and made day by day, that answers STUDY-level questions as a capped C-FIND would.

It stands in for the wire: `ask` is what `sluice.pacs.find.splitting` calls. Its days have empty nights and dense
mornings, quiet weekends and holidays, times that only know the minute, some patients at the very same second, studies
without a time, and nights on which an old archive was taken over with every study at 000000.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import cast

from pydicom.dataset import Dataset

from sluice.pacs.answers import seconds_of_day
from sluice.pacs.find.pieces import Piece
from sluice.pacs.find.splitting import Asked

HOURS = (3, 2, 2, 2, 3, 6, 18, 62, 118, 128, 124, 112, 84, 88, 84, 66, 42, 26, 17, 13, 10, 8, 6, 4)
WEEKDAYS = (1.32, 1.26, 1.22, 1.24, 1.12, 0.46, 0.38)
MODALITIES = (("CR", 38), ("CT", 24), ("MR", 14), ("US", 12), ("MG", 5), ("XA", 3), ("NM", 2), ("PT", 1), ("SR", 1))
HOLIDAY_SHARE = 0.03
IMPORT_EVERY_DAYS = 30
DAYS_KEPT = 40  # made days that stay in memory


class Answer(dict[str, str]):
    """A study as `answers.text` reads it; a pydicom dataset would cost more than all of the splitting."""


@dataclass(frozen=True)
class Day:
    """The studies of one day, in the order in which the PACS answers, with the ways to find them quickly."""

    answers: list[Answer]
    by_time: list[tuple[int, int]]
    by_last: Mapping[str, list[int]]


@dataclass
class YearlyPacs:
    """A capped PACS.

    Args:
        studies_a_year: about as many.
        cap: answers after which it stops, silently.
        timeless: share of studies without a Study Time.
        seed: of everything.
    """

    studies_a_year: int
    cap: int
    timeless: float = 0.02
    seed: int = 500
    queries: int = 0
    held: dict[date, int] = field(default_factory=dict)
    _days: OrderedDict[date, Day] = field(default_factory=OrderedDict)

    def ask(self, piece: Piece, parent: int | None) -> Asked:
        """One C-FIND: at most `cap` answers, success."""
        self.queries += 1
        found: dict[str, Dataset] = {}
        day = piece.starts_on
        while day <= piece.ends_on and len(found) < self.cap:
            for answer in self._of(self.day(day), piece):
                found[answer["StudyInstanceUID"]] = cast(Dataset, answer)
                if len(found) == self.cap:
                    break
            day += timedelta(days=1)
        return Asked(found, len(found), "0000", self.queries)

    def _of(self, day: Day, piece: Piece) -> Iterable[Answer]:
        chosen: Iterable[int] = range(len(day.answers))
        if not piece.any_time:
            first = bisect_left(day.by_time, (piece.from_s, -1))
            last = bisect_right(day.by_time, (piece.to_s if piece.to_s < 86_400 else 86_399, len(day.answers)))
            chosen = sorted(number for _, number in day.by_time[first:last])
        elif piece.patient_id and piece.patient_id.startswith("*"):
            chosen = day.by_last.get(piece.patient_id[-1], [])
        for number in chosen:
            answer = day.answers[number]
            if piece.modality and answer["ModalitiesInStudy"] != piece.modality:
                continue
            if _fits(piece.patient_id, answer["PatientID"]) and _fits(piece.accession, answer["AccessionNumber"]):
                yield answer

    def day(self, day: date) -> Day:
        """The studies of a day; the same every time it is asked for."""
        if day in self._days:
            return self._days[day]
        made = self._make(day)
        self.held[day] = len(made.answers)
        self._days[day] = made
        if len(self._days) > DAYS_KEPT:
            self._days.popitem(last=False)
        return made

    def _make(self, day: date) -> Day:
        chance = random.Random(self.seed * 1_000_003 + day.toordinal())
        mean = self.studies_a_year / 365.25 / (sum(WEEKDAYS) / 7) / (1 - HOLIDAY_SHARE * 0.6)
        weekday = 6 if chance.random() < HOLIDAY_SHARE else day.weekday()
        imported = int(mean * 0.6) if day.toordinal() % IMPORT_EVERY_DAYS == 0 else 0
        count = round(mean * WEEKDAYS[weekday] * chance.lognormvariate(0, 0.07)) - imported // IMPORT_EVERY_DAYS
        times = [self._time(chance) for _ in range(max(0, count))] + ["000000"] * imported
        chance.shuffle(times)
        # Most PACS answer in the order of arrival: mornings first, so a capped answer shows nothing of the evening.
        times.sort(key=lambda time: time[:3] or chance.choice("012") + "0")
        modalities = chance.choices([name for name, _ in MODALITIES], [share for _, share in MODALITIES], k=len(times))
        answers = []
        for number, time in enumerate(times):
            patient = f"{chance.randrange(10**6):07d}"
            if chance.random() < 0.01:  # of another hospital
                patient = f"EXT{patient[-5:]}X"
            answers.append(
                Answer(
                    StudyInstanceUID=f"1.2.{day.toordinal()}.{number}",
                    StudyDate=f"{day:%Y%m%d}",
                    StudyTime=time,
                    ModalitiesInStudy=modalities[number],
                    PatientID=patient,
                    AccessionNumber="" if chance.random() < 0.01 else f"A{day:%y%m%d}{number:05d}",
                )
            )
        seconds = [(cast(int, seconds_of_day(time)), number) for number, time in enumerate(times) if time]
        last: dict[str, list[int]] = defaultdict(list)
        for number, answer in enumerate(answers):
            last[answer["PatientID"][-1]].append(number)
        return Day(answers, sorted(seconds), last)

    def _time(self, chance: random.Random) -> str:
        if chance.random() < self.timeless:
            return ""
        if chance.random() < 0.01:
            return "000000"
        hour = chance.choices(range(24), HOURS)[0]
        minute, second = chance.randrange(60), chance.randrange(60)
        style = chance.random()
        if style < 0.25:
            return f"{hour:02d}{minute:02d}00"
        return f"{hour:02d}{minute:02d}{second:02d}" + (f".{chance.randrange(1000):03d}" if style > 0.6 else "")


def _fits(pattern: str | None, value: str) -> bool:
    if pattern is None:
        return True
    if pattern.startswith("*"):
        return value.endswith(pattern[1:])
    return value.startswith(pattern[:-1]) if pattern.endswith("*") else value == pattern
