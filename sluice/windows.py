"""Windows: what one run works on, a hospital day, some minutes of one, or the studies of a cohort request."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Self

from sluice.database import Database

DAY_S = 86_400
_MINUTES = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})T([0-9]{2})([0-9]{2})-([0-9]{2})([0-9]{2})")


@dataclass(frozen=True)
class Window:
    """A sweep's window.

    Some minutes of a day are a part of that day's window: what is found in them is expected in the day, so the steps
    after the sweep know only the day, and its own sweep proves it as ever.

    Attributes:
        key: `2026-10-26` for a day and its parts (Airflow's partition key), `cohort/<project>/<name>` for a cohort,
            `import/<name>` for an import.
        kind: `day`, `cohort` or `import`.
        starts_on, ends_on: study dates, both inclusive.
        from_s, to_s: study times in seconds of the day; 0 and 86400 together mean any time, or none.
    """

    key: str
    kind: str
    starts_on: date
    ends_on: date
    from_s: int = 0
    to_s: int = DAY_S

    @property
    def is_whole(self) -> bool:
        """Whether it leaves no time of its days out."""
        return (self.from_s, self.to_s) == (0, DAY_S)

    @property
    def label(self) -> str:
        """What `of_label` reads: the key, or for minutes `2026-10-26T1015-1030`, fit for URLs and file names."""
        if self.is_whole:
            return self.key
        bounds = (f"{second // 3600:02d}{second // 60 % 60:02d}" for second in (self.from_s, self.to_s))
        return f"{self.key}T{'-'.join(bounds)}"

    @classmethod
    def of_day(cls, day: date) -> Self:
        """The window of one hospital day."""
        return cls(day.isoformat(), "day", day, day)

    @classmethod
    def of_minutes(cls, day: date, from_s: int, to_s: int) -> Self:
        """The part of a day between two study times, seconds of the day, in whole minutes.

        Raises:
            ValueError: they are in the wrong order, or beyond the day.
        """
        if not 0 <= from_s < to_s <= DAY_S:
            raise ValueError("The minutes of a window must be in order and within one day (0000 to 2400).")
        return cls(day.isoformat(), "day", day, day, from_s - from_s % 60, min(DAY_S, to_s + -to_s % 60))

    @classmethod
    def of_last_minutes(cls, now: datetime, minutes: int) -> list[Self]:
        """The last `minutes` before `now`, the hospital's local time; across midnight the parts of both days.

        Raises:
            ValueError: not between 1 minute and a day.
        """
        if not 1 <= minutes <= DAY_S // 60:
            raise ValueError("The last minutes to sweep must be between 1 and 1440.")
        begin = now - timedelta(minutes=minutes)
        first, last = (moment.hour * 3600 + moment.minute * 60 + moment.second for moment in (begin, now))
        if begin.date() == now.date():
            return [cls.of_minutes(now.date(), first, last)]
        parts = [cls.of_minutes(begin.date(), first, DAY_S)]
        return [*parts, cls.of_minutes(now.date(), 0, last)] if last else parts

    @classmethod
    def of_label(cls, label: str) -> Self:
        """The day or minutes that `label` names.

        Raises:
            ValueError: it is neither.
        """
        matched = _MINUTES.fullmatch(label)
        if not matched:
            return cls.of_day(date.fromisoformat(label))
        day, *numbers = matched.groups()
        hour, minute, end_hour, end_minute = (int(number) for number in numbers)
        if minute > 59 or end_minute > 59:
            raise ValueError(f"{label} names no time: minutes go from 00 to 59.")
        return cls.of_minutes(date.fromisoformat(day), hour * 3600 + minute * 60, end_hour * 3600 + end_minute * 60)

    @classmethod
    def of_cohort(cls, project: str, name: str, starts_on: date, ends_on: date) -> Self:
        """The window of one cohort request."""
        return cls(f"cohort/{project}/{name}", "cohort", starts_on, ends_on)

    @classmethod
    def of_import(cls, name: str, day: date) -> Self:
        """The window of what was imported under one name, first on that day; its study dates may be any."""
        return cls(f"import/{name}", "import", day, day)


def remember_window(database: Database, window: Window) -> None:
    """Write the window to the ledger; the same window again changes nothing."""
    database.execute(
        "insert into sweep_window (window_key, kind, starts_on, ends_on) "
        "values (%s, %s, %s, %s) on conflict do nothing",
        (window.key, window.kind, window.starts_on, window.ends_on),
    )
