"""When a hospital's studies happen, learned from sweeps, so that a day is cut into pieces of the right size at once.

Counts of a mean day for each weekday, in slots of the day. It steers only how many queries a sweep takes; whether
an answer is complete never depends on it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import pairwise
from typing import Any, Self

DAY_S = 86_400
SLOT_S = 600
# The first minute stands alone: whoever does not know the time of a study writes 000000.
EDGES = (0, 60, *range(SLOT_S, DAY_S + 1, SLOT_S))
SLOTS = len(EDGES) - 1
DAYS_REMEMBERED = 8  # a mean over more would follow a growing hospital too slowly
PRIOR_STUDIES = 60.0  # how many studies the mean day is worth against what today has shown so far


@dataclass
class Density:
    """Studies of a mean day: `slots` by time of day, and those without a time.

    Attributes:
        slots: by weekday (Monday is 0), studies in each slot.
        timeless: by weekday, studies without a time.
        days: by weekday, how many days went into the mean, at most `DAYS_REMEMBERED`.
        today: studies of the days that are being swept: UID → day and second of the day, None without a time.
    """

    slots: dict[int, list[float]] = field(default_factory=dict)
    timeless: dict[int, float] = field(default_factory=dict)
    days: dict[int, int] = field(default_factory=dict)
    today: dict[str, tuple[date, int | None]] = field(default_factory=dict)

    def see(self, studies: Iterable[tuple[str, date, int | None]]) -> None:
        """Studies of the days that are being swept, each as often as it is answered: UID, day, second of the day."""
        self.today.update((uid, (day, second)) for uid, day, second in studies)

    def close(self, starts_on: date, ends_on: date) -> None:
        """These days are complete: they go into the mean, those without a study too."""
        days: dict[date, list[int | None]] = {}
        for day, second in self.today.values():
            days.setdefault(day, []).append(second)
        for number in range(min((ends_on - starts_on).days + 1, 7 * DAYS_REMEMBERED)):
            day = ends_on - timedelta(days=number)
            self._add(day, days.get(day, []))
        self.today.clear()

    def _add(self, day: date, seconds: list[int | None]) -> None:
        counts, without = [0] * SLOTS, 0
        for second in seconds:
            if second is None:
                without += 1
            else:
                counts[bisect_right(EDGES, min(second, DAY_S - 1)) - 1] += 1
        weekday = day.weekday()
        days = self.days[weekday] = min(self.days.get(weekday, 0) + 1, DAYS_REMEMBERED)
        mean = self.slots.setdefault(weekday, [0.0] * SLOTS)
        for slot, count in enumerate(counts):
            mean[slot] += (count - mean[slot]) / days
        before = self.timeless.get(weekday, 0.0)
        self.timeless[weekday] = before + (without - before) / days

    def of_day(self, day: date) -> float:
        """Studies expected on a day; 0 while nothing is known."""
        weekday = day.weekday()
        return sum(self._profile(weekday)) + self.timeless.get(weekday, 0.0)

    def of_time(self, day: date, from_s: float, to_s: float) -> float:
        """Studies expected between two times of a day, those without a time left out."""
        profile = self._profile(day.weekday())
        total = 0.0
        for count, (first, last) in zip(profile, pairwise(EDGES), strict=True):
            if count and first < to_s and last > from_s:
                total += count * (min(to_s, last) - max(from_s, first)) / (last - first)
        return total

    def _profile(self, weekday: int) -> list[float]:
        if weekday in self.slots:
            return self.slots[weekday]
        if not self.slots:
            return [0.0] * SLOTS
        # Another weekday is the best guess for one that was never seen: weekdays alike, Saturday like Sunday.
        like = [other for other in self.slots if (other >= 5) == (weekday >= 5)] or list(self.slots)
        return [sum(self.slots[other][slot] for other in like) / len(like) for slot in range(SLOTS)]

    def days_within(self, day: date, ends_on: date, target: float, most: int) -> int:
        """How many days from `day` on hold about `target` studies together; at least 1, at most `most`."""
        total, days = self.of_day(day), 1
        while days < most and day + timedelta(days=days) <= ends_on:
            total += self.of_day(day + timedelta(days=days))
            if total > target:
                break
            days += 1
        return days

    def cut(self, day: date, begin_s: int, from_s: int, to_s: int, target: float, at_least: float) -> int:
        """Where the next piece of a time range ends so that it holds about `target` studies.

        Args:
            begin_s, to_s: the whole range; from `begin_s` to `from_s` is covered already.
            from_s: where the next piece begins.
            at_least: studies that the whole range is known to hold.
        """
        whole = self.of_time(day, begin_s, to_s)
        left = self.of_time(day, from_s, to_s)
        if left <= 0:
            return (from_s + to_s) // 2 if from_s == begin_s and to_s - from_s > 1 else to_s
        so_far = self.of_time(day, begin_s, from_s)
        seen = sum(1 for on, second in self.today.values() if on == day and second and begin_s <= second < from_s)
        factor = (seen + PRIOR_STUDIES) / (so_far + PRIOR_STUDIES)
        factor = max(factor, (at_least - seen) / left, at_least / whole if from_s == begin_s else 0.0)
        end = self._reach(day, from_s, to_s, target / factor)
        if from_s == begin_s and end >= to_s:  # the whole again is no split
            end = self._reach(day, from_s, to_s, left / 2)
        return max(from_s + 1, min(end, to_s))

    def _reach(self, day: date, from_s: int, to_s: int, wanted: float) -> int:
        total = 0.0
        for count, (first, last) in zip(self._profile(day.weekday()), pairwise(EDGES), strict=True):
            first_s, last_s = max(first, from_s), min(last, to_s)
            if first_s >= last_s or not count:
                continue
            part = count * (last_s - first_s) / (last - first)
            if total + part >= wanted:
                return int(first_s + (last_s - first_s) * (wanted - total) / part)
            total += part
        return to_s

    def as_dict(self) -> dict[str, Any]:
        """The means, as `pacs_fact.detail` keeps them."""
        return {
            str(weekday): {
                "days": self.days[weekday],
                "timeless": round(self.timeless.get(weekday, 0.0), 2),
                "slots": [round(count, 2) for count in self.slots[weekday]],
            }
            for weekday in sorted(self.days)
        }

    @classmethod
    def of(cls, value: Mapping[str, Any] | None) -> Self:
        """The density that `as_dict` gave; an empty one for anything that it did not."""
        density = cls()
        for weekday, kept in (value or {}).items():
            if len(kept.get("slots", ())) == SLOTS:
                density.days[int(weekday)] = int(kept["days"])
                density.timeless[int(weekday)] = float(kept["timeless"])
                density.slots[int(weekday)] = [float(count) for count in kept["slots"]]
        return density
