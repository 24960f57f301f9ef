"""Queries that a sweep takes behind a capped PACS, beside the fewest possible and beside plain halving.

The year of a million studies is asked of `benchmarks._year`, a PACS in memory that stands where C-FIND would
(`Splitter.ask`): what is counted are questions, and nothing there takes the time of a wire. The cap is learned from
nothing. The fewest possible are studies ÷ cap. Plain halving is told the cap and halves dates, then times; it never
finds studies without a time, nor more at one second than the cap, and what it lost is printed.

Memory is what a process of its own holds at most at the end of a day, above what its imports take, for one year and for
ten of a hospital a tenth as large behind a tenth of the cap: the same number of queries a day, ten times the days.

The last lines are a whole day over real C-FIND at all three levels, written to Postgres, from the hospital simulator.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

from pydicom.dataset import Dataset

from benchmarks._year import YearlyPacs
from benchmarks.run import Row
from sluice.database import Database, migrate
from sluice.hospital.build import build
from sluice.hospital.faults import Faults
from sluice.hospital.pacs import HospitalPacs
from sluice.pacs.find.pieces import Piece
from sluice.pacs.find.splitting import Facts, Splitter
from sluice.pacs.find.sweep import sweep
from sluice.pacs.node import PacsNode
from sluice.stack.postgres import EmbeddedPostgres
from sluice.windows import Window

STUDIES = 1_000_000
CAP = 500
FIRST = date(2026, 1, 1)
YEAR = 365
GOAL_QUERIES = 2.5  # times the lower bound, at most
GOAL_MEMORY = 1.2  # ten years beside one, at most


@dataclass
class Swept:
    """What a sweep in memory took and found."""

    queries: int
    found: int
    held: int
    uncertain: int
    seconds: float


class Count:
    """Counts different studies day by day: those of two days are never the same."""

    def __init__(self) -> None:
        self.total = 0
        self._today: set[str] = set()

    def take(self, studies: Mapping[str, Dataset], leaf: int | None) -> None:
        """Studies of a leaf."""
        self._today.update(studies)

    def day_is_over(self) -> None:
        """Forget which they were."""
        self.total += len(self._today)
        self._today.clear()


def by_days(pacs: YearlyPacs, days: int = YEAR, each_day: Callable[[], None] = lambda: None) -> Swept:
    """One window a day, as a backfill does; what was learned is handed on."""
    facts, count, uncertain, started = Facts(), Count(), 0, time.perf_counter()
    for number in range(days):
        day = FIRST + timedelta(days=number)
        splitter = Splitter(pacs.ask, facts, RuntimeError, count.take)
        splitter.cover(Piece(day, day))
        uncertain += splitter.uncertain
        count.day_is_over()
        each_day()
    return Swept(pacs.queries, count.total, sum(pacs.held.values()), uncertain, time.perf_counter() - started)


def at_once(pacs: YearlyPacs, days: int = YEAR) -> Swept:
    """One window of all days, as a cohort's filter does."""
    found: set[str] = set()
    started = time.perf_counter()
    splitter = Splitter(pacs.ask, Facts(), RuntimeError, lambda studies, leaf: found.update(studies))
    splitter.cover(Piece(FIRST, FIRST + timedelta(days=days - 1)))
    held = sum(count for day, count in pacs.held.items() if day < FIRST + timedelta(days=days))
    return Swept(pacs.queries, len(found), held, splitter.uncertain, time.perf_counter() - started)


def by_halves(pacs: YearlyPacs, days: int = YEAR) -> Swept:
    """Plain halving, a window a day, told the cap."""
    found: set[str] = set()
    started = time.perf_counter()

    def halve(piece: Piece) -> None:
        asked = pacs.ask(piece, None)
        if asked.count < pacs.cap or piece.to_s - piece.from_s <= 1:
            found.update(asked.answers)
            return
        middle = (piece.from_s + piece.to_s) // 2
        halve(replace(piece, to_s=middle))
        halve(replace(piece, from_s=middle))

    for number in range(days):
        halve(Piece(FIRST + timedelta(days=number), FIRST + timedelta(days=number)))
    return Swept(pacs.queries, len(found), sum(pacs.held.values()), 0, time.perf_counter() - started)


def run(work: Path) -> list[Row]:
    """The year in its variants, memory, and a day over the wire."""
    days, year = by_days(YearlyPacs(STUDIES, CAP)), at_once(YearlyPacs(STUDIES, CAP))
    timed = by_days(YearlyPacs(STUDIES, CAP, timeless=0.0))
    halves = by_halves(YearlyPacs(STUDIES, CAP))
    for swept in (days, year, timed):
        if swept.found != swept.held or swept.uncertain:
            raise RuntimeError(f"Only {swept.found} of {swept.held} studies were found: the benchmark means nothing.")
    print(
        f"halving lost {halves.held - halves.found:,} of {halves.held:,} studies; days one by one {days.seconds:.0f} s"
    )
    one, ten = (_peak_mib(years) for years in (1, 10))
    return [
        _bound("a year of 1 M studies, days one by one, 2 % without a time", days, GOAL_QUERIES),
        _bound("the same as one window", year, GOAL_QUERIES),
        _bound("days one by one, every study with a time", timed, GOAL_QUERIES),
        _times("the first, beside halving", days.queries, halves.queries, "halving, told the cap", "queries", None),
        Row("memory held, ten years beside one", round(ten, 1), round(one, 1), "one year", "MiB", round(ten / one, 3),
            GOAL_MEMORY, ten / one <= GOAL_MEMORY),
        *_over_the_wire(work),
    ]  # fmt: skip


def _bound(name: str, swept: Swept, goal: float) -> Row:
    lowest = -(-swept.held // CAP)
    ratio = swept.queries / lowest
    return Row(name, swept.queries, lowest, "studies ÷ cap", "queries", round(ratio, 3), goal, ratio <= goal)


def _times(name: str, ours: float, peer: float, peer_name: str, unit: str, goal: float | None) -> Row:
    return Row(name, ours, peer, peer_name, unit, round(peer / ours, 3), goal, goal is None or peer / ours >= goal)


def _peak_mib(years: int) -> float:
    """Peak of a process that sweeps so many years, above its imports."""
    code = f"from benchmarks.sweep import peak_of_years; peak_of_years({years})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def peak_of_years(years: int) -> None:
    """Print how much more memory this process holds at most than before, MiB."""
    before, held = _resident_mib(), [0.0]
    by_days(
        YearlyPacs(STUDIES // 10, CAP // 10),
        years * YEAR,
        lambda: held.__setitem__(0, max(held[0], _resident_mib() - before)),
    )
    print(held[0])


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)


def _over_the_wire(work: Path) -> list[Row]:
    truth = build(work / "hospital", None, scale="tiny")
    window = Window.of_day(truth.day)
    with (
        EmbeddedPostgres(work / "postgres", durable=True) as postgres,
        HospitalPacs(work / "hospital", faults=Faults(answer_cap=None)) as pacs,
    ):
        database = Database(postgres.url("sluice"))
        migrate(database.url)
        node = PacsNode("hospital", "127.0.0.1", pacs.port, "HOSPITAL_PACS", "SLUICE", "SLUICE")
        pacs.faults = Faults(cap_at={"STUDY": 10})
        started = time.perf_counter()
        first = sweep(database, node, window)
        between = time.perf_counter()
        second = sweep(database, node, window)
        ended = time.perf_counter()
    single = -(-first.studies // 10) + first.studies + first.series
    print(f"over the wire: {first.as_dict()}")
    return [
        _times(
            "C-FIND of a day, learning; cap 10 at STUDY level", first.queries, single, "one by one", "queries", None
        ),
        _times("the same day again", second.queries, single, "one by one", "queries", None),
        _times("seconds of the same day again", ended - between, between - started, "learning", "s", None),
    ]
