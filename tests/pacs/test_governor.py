"""One governor for each PACS: shared by processes, surviving their deaths, obeying hours, pace and people."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg2
import pytest

from sluice.database import Database, DatabaseError
from sluice.pacs.errors import PacsAborted, PacsBusy, PacsUnreachable
from sluice.pacs.governor import (
    Governor,
    GovernorLost,
    PacsClosed,
    PacsOccupied,
    Priority,
    RetrievalCancelled,
    RetrievalPaused,
    Use,
)
from sluice.pacs.governor import hold as holding
from sluice.pacs.governor.orders import OrderError, order_retrieval, retrieval_state
from sluice.pacs.governor.pace import Clock
from sluice.pacs.governor.policy import Limits, Policy, change_policy
from sluice.pacs.governor.pressure import Tempo
from sluice.settings import CHECKOUT
from tests.pacs.sending import rows

KEY = "2026-10-26"
ALWAYS = ("f" * 24,) * 7
NEVER = ("." * 24,) * 7


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "TICK_S", 0.1)


def allow(database: Database, concurrency: int, week: tuple[str, ...] = ALWAYS, **more: Any) -> None:
    urgent = more.pop("urgent_when_closed", False)
    limits = Limits(concurrency, **more)
    change_policy(database, "pretend", Policy("Europe/Berlin", week, limits, limits, urgent), "test")


def asks(database: Database, who: str = "me", priority: Priority = Priority.ROUTINE, **more: Any) -> Governor:
    use = Use(more.pop("purpose", "test"), who, priority, more.pop("window", None))
    return Governor(database, "pretend", use, **({"patience_s": 30} | more))


def eventually(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.02)


def ask(governor: Governor) -> None:
    with governor.request() as request:
        request.answered("0000")


@contextmanager
def process(database: Database, who: str, requests: int, seconds: float, mode: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.pacs.governed_process", database.url, who, "1"]
    running = subprocess.Popen(
        [*command, str(requests), str(seconds), mode], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    )
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def test_processes_together_never_exceed_what_one_may(database: Database) -> None:
    allow(database, 2)
    with ExitStack() as stack:
        running = [stack.enter_context(process(database, f"backfill {n}", 6, 0.05, "work")) for n in range(3)]
        outputs = [one.communicate(timeout=120)[0] for one in running]
        assert [one.returncode for one in running] == [0, 0, 0]
    events = [json.loads(line) for output in outputs for line in output.splitlines()]
    assert len(events) == 3 * 6 * 2
    at_once = most = 0
    for event in sorted(events, key=lambda event: event["at"]):
        at_once += 1 if event["event"] == "in" else -1
        most = max(most, at_once)
    assert most == 2, "as many as allowed, and never more"
    uses = rows(
        database, "select who, sum(requests) as n from pacs_use where ended_by = 'released' group by 1 order by 1"
    )
    assert [use["n"] for use in uses] == [6, 6, 6]


def test_the_slot_of_a_killed_process_is_free_at_once(database: Database) -> None:
    allow(database, 1)
    with process(database, "doomed", 1, 0, "hold") as doomed:
        assert doomed.stdout is not None
        assert json.loads(doomed.stdout.readline())["event"] == "in"
        with pytest.raises(PacsOccupied, match="page PACS shows who"), asks(database, patience_s=0.3).association():
            pass
        os.kill(doomed.pid, signal.SIGKILL)
        killed = time.monotonic()
        with asks(database).association():
            took = time.monotonic() - killed
    assert took < 5, f"{took:.1f} s"
    assert rows(database, "select ended_by from pacs_use where who = 'doomed'") == [{"ended_by": "died"}]


def test_a_stopped_process_loses_its_slot_and_asks_nothing_afterwards(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(database, 1)
    with asks(database, "stopped").association() as hold:
        hold._rest()  # as a process that is stopped: its heart does not beat any more
        database.execute("update pacs_use set heartbeat_at = heartbeat_at - interval '1 hour' where who = 'stopped'")
        with asks(database, "other").association():
            monkeypatch.setattr(holding, "QUIET_S", 0.0)
            with pytest.raises(GovernorLost, match="taken away"), hold.request():
                pytest.fail("asked without a slot")


def test_nothing_is_asked_without_the_database(database: Database) -> None:
    with (
        pytest.raises(DatabaseError, match="cannot be reached"),
        asks(Database("postgresql://x@127.0.0.1:1/x")).association(),
    ):
        pass
    governor = asks(database)
    with governor.association() as hold:
        admin = psycopg2.connect(database.url)
        with admin, admin.cursor() as cursor:
            cursor.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and pid <> pg_backend_pid()"
            )
        admin.close()
        eventually(lambda: hold._lost)
        with pytest.raises(GovernorLost, match="does not answer"):
            ask(governor)
    with pytest.raises(GovernorLost, match="without a slot"):
        governor.request()


def test_urgent_work_gets_the_slot_between_two_requests_of_a_long_holder(database: Database) -> None:
    allow(database, 1)
    order: list[str] = []
    closed: list[str] = []
    backfill = asks(database, "backfill", Priority.BACKFILL)
    with backfill.association() as hold:
        hold.close = lambda: closed.append("closed")
        with backfill.request() as request:
            request.answered("0000")

        def urgent() -> None:
            with asks(database, "urgent", Priority.URGENT).association() as mine, mine.request() as request:
                order.append("urgent")
                request.answered("0000")

        thread = threading.Thread(target=urgent)
        thread.start()
        eventually(lambda: hold._seen is not None and not hold._seen.is_our_turn)
        with backfill.request() as request:
            order.append("backfill")
            request.answered("0000")
        thread.join(20)
    assert order == ["urgent", "backfill"]
    assert closed == ["closed"], "the association was not released before the slot was given up"
    ended = rows(database, "select who, ended_by from pacs_use order by lease_id")
    assert ended == [
        {"who": "backfill", "ended_by": "gave-way"},
        {"who": "urgent", "ended_by": "released"},
        {"who": "backfill", "ended_by": "released"},
    ]


def test_among_those_who_wait_the_most_urgent_is_next(database: Database) -> None:
    allow(database, 1)
    order: list[str] = []

    def wait(who: str, priority: Priority) -> None:
        with asks(database, who, priority).association():
            order.append(who)

    with asks(database, "holder", Priority.URGENT).association():
        threads = []
        for who in ("backfill", "routine", "urgent"):
            threads.append(threading.Thread(target=wait, args=(who, Priority[who.upper()])))
            threads[-1].start()
            eventually(lambda who=who: rows(database, f"select from pacs_use where who = '{who}'"))
    for thread in threads:
        thread.join(20)
    assert order == ["urgent", "routine", "backfill"]


def test_who_gave_up_waiting_and_comes_again_has_waited_all_along(database: Database) -> None:
    allow(database, 1)
    with asks(database, "holder").association():
        for _ in range(2):
            with pytest.raises(PacsOccupied), asks(database, "patient", patience_s=0.2).association():
                pass
    waits = rows(database, "select waiting_since, asked_at from pacs_use where who = 'patient' order by lease_id")
    assert waits[0]["waiting_since"] == waits[1]["waiting_since"]
    assert waits[1]["asked_at"] > waits[0]["asked_at"]  # type: ignore[operator]


def test_outside_the_weekly_hours_it_says_when_they_begin(database: Database) -> None:
    hour = (datetime.now(UTC) + timedelta(hours=30)).astimezone(ZoneInfo("Europe/Berlin"))
    week = [list("." * 24) for _ in range(7)]
    week[hour.weekday()][hour.hour] = "f"
    allow(database, 1, tuple("".join(day) for day in week))
    with pytest.raises(PacsClosed, match="outside the weekly hours") as caught, asks(database).association():
        pass
    assert caught.value.opens_at == hour.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    assert not caught.value.permanent
    allow(database, 1, NEVER)
    with pytest.raises(PacsClosed, match="closed at all times") as caught, asks(database).association():
        pass
    assert caught.value.opens_at is None
    allow(database, 1, NEVER, urgent_when_closed=True)
    with asks(database, priority=Priority.URGENT).association():
        pass


def test_when_the_hours_end_it_stops_between_two_requests(database: Database) -> None:
    allow(database, 1)
    governor = asks(database)
    with governor.association() as hold:
        ask(governor)
        allow(database, 1, NEVER)
        eventually(lambda: hold._seen is not None and hold._seen.limits is None)
        with pytest.raises(PacsClosed):
            ask(governor)


def test_a_lower_policy_takes_slots_away_between_two_requests(database: Database) -> None:
    allow(database, 2)
    with asks(database, "first").association() as first, ExitStack() as stack:
        second = stack.enter_context(asks(database, "second").association())
        allow(database, 1)
        eventually(lambda: second._seen is not None and second._seen.slots == 1)
        assert first._seen is not None
        eventually(lambda: first._seen.slots == 1)  # type: ignore[union-attr]
        assert [first._seen.is_our_turn, second._seen.is_our_turn] == [True, False]  # type: ignore[union-attr]


@pytest.fixture
def window(database: Database) -> str:
    """A window with one study of two instances that have not come."""
    database.execute("insert into sweep_window values (%s, 'day', %s, %s)", (KEY, KEY, KEY))
    database.execute(
        "insert into expectation (window_key, sop_instance_uid, series_instance_uid, study_instance_uid, pacs) "
        "select %s, '1.2.' || n, '1.2', '1', 'pretend' from generate_series(1, 2) n",
        (KEY,),
    )
    return KEY


def test_pause_takes_effect_between_two_requests_and_resume_lets_go_on(database: Database, window: str) -> None:
    allow(database, 1)
    governor = asks(database, purpose="retrieve", window=window)
    with governor.association() as hold:
        ask(governor)
        order_retrieval(database, window, "vera", "paused")
        eventually(lambda: hold._seen is not None and hold._seen.stop is not None, 5)
        with pytest.raises(RetrievalPaused, match="Resume it"):
            ask(governor)
    with pytest.raises(RetrievalPaused), governor.association():
        pass
    with asks(database, purpose="sweep", window=window).association():
        pass  # sweeps of the same window are no retrieval
    order_retrieval(database, window, "vera", "active")
    with governor.association():
        ask(governor)
    kept = rows(database, "select state, ordered_by from window_order order by order_id")
    assert kept == [{"state": "paused", "ordered_by": "vera"}, {"state": "active", "ordered_by": "vera"}]


def test_cancel_says_why_instances_are_missing_and_can_be_taken_back(database: Database, window: str) -> None:
    order_retrieval(database, window, "vera", "cancelled")
    with pytest.raises(RetrievalCancelled), asks(database, purpose="cohort", window=window).association():
        pass
    reason = "select distinct reason_code, detail from open_gap where step = 'received'"
    assert rows(database, reason) == [{"reason_code": "cancelled", "detail": "cancelled by vera"}]
    order_retrieval(database, window, "otto", "active")
    assert rows(database, reason) == [{"reason_code": "not-asked", "detail": "resumed by otto"}]
    with asks(database, purpose="cohort", window=window).association():
        pass


def test_a_persons_priority_overrules_the_runs_also_for_who_waits_already(database: Database, window: str) -> None:
    allow(database, 1)
    order_retrieval(database, window, "vera", priority=Priority.BACKFILL)
    assert retrieval_state(database, window).priority is Priority.BACKFILL
    done: list[str] = []

    def wait(who: str, key: str | None) -> None:
        with asks(database, who, Priority.ROUTINE, purpose="retrieve", window=key).association():
            done.append(who)

    with asks(database, "holder", Priority.URGENT).association():
        threads = [threading.Thread(target=wait, args=pair) for pair in (("other", None), ("theirs", window))]
        for thread, who in zip(threads, ("other", "theirs"), strict=True):
            thread.start()
            eventually(lambda who=who: rows(database, f"select from pacs_use where who = '{who}'"))
        order_retrieval(database, window, "vera", priority=Priority.URGENT)
    for thread in threads:
        thread.join(20)
    assert done == ["theirs", "other"]


def test_orders_for_what_does_not_exist_are_refused(database: Database, window: str) -> None:
    with pytest.raises(OrderError, match="No such window"):
        order_retrieval(database, "1999-01-01", "vera", "paused")
    with pytest.raises(OrderError, match="no state 'stopped'"):
        order_retrieval(database, window, "vera", "stopped")


class ToldClock(Clock):
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def now(self) -> datetime:
        return datetime(2026, 10, 26, tzinfo=UTC) + timedelta(seconds=self.passed_s)

    def monotonic(self) -> float:
        return self.passed_s

    def sleep(self, seconds: float) -> None:
        self.passed_s += seconds


def test_bytes_come_at_the_pace_of_policy_all_holders_together(database: Database) -> None:
    allow(database, 2, bytes_per_s=1_000_000)
    clock = ToldClock()
    first, second = asks(database, "a", clock=clock), asks(database, "b", clock=clock)
    with first.association(), second.association():
        for _ in range(20):
            for governor in (first, second):
                with governor.request("C-MOVE") as request:
                    clock.sleep(0.1)  # the PACS would send 5 MB in that time
                    request.answered("0000", 500_000)
    assert clock.passed_s == pytest.approx(20.0, rel=0.05)  # 20 MB at 1 MB/s


def test_a_pacs_that_is_slower_than_policy_is_not_slowed_further(database: Database) -> None:
    allow(database, 1, bytes_per_s=1_000_000)
    clock = ToldClock()
    governor = asks(database, clock=clock)
    with governor.association():
        for _ in range(10):
            with governor.request("C-MOVE") as request:
                clock.sleep(2.0)
                request.answered("0000", 1_000_000)
    assert clock.passed_s == pytest.approx(20.0, rel=0.01)


def test_queries_keep_their_distance_all_holders_together(database: Database) -> None:
    allow(database, 2, queries_per_s=4)
    clock = ToldClock()
    first, second = asks(database, "a", clock=clock), asks(database, "b", clock=clock)
    asked: list[float] = []
    with first.association(), second.association():
        for _ in range(20):
            for governor in (first, second):
                with governor.request() as request:
                    asked.append(clock.passed_s)
                    request.answered("0000")
    gaps = [after - before for before, after in itertools.pairwise(asked)]
    assert min(gaps) == pytest.approx(0.25, abs=0.001)
    assert asked[-1] == pytest.approx(39 * 0.25, rel=0.01)


QUICK = Tempo(calm_s=0.15, good=3, probe_s=0.6, longest_probe_s=2.0, first_pause_s=0.05, longest_pause_s=0.1)


@contextmanager
def movers(database: Database, bears: list[int], count: int = 4) -> Iterator[Callable[[], int]]:
    """Threads that move all the time from a PACS that answers A702 when more than `bears[0]` moves run."""
    running, guard, done = [0], threading.Lock(), threading.Event()
    peaks: list[int] = []

    def move(number: int) -> None:
        governor = asks(database, f"mover {number}", Priority.BACKFILL, tempo=QUICK)
        with governor.association():
            while not done.is_set():
                with governor.request("C-MOVE") as request:
                    with guard:
                        running[0] += 1
                        too_many = running[0] > bears[0]
                        peaks.append(running[0])
                    time.sleep(0.03)
                    with guard:
                        running[0] -= 1
                    request.answered("A702" if too_many else "0000")

    def run(number: int) -> None:
        while not done.is_set():
            try:
                move(number)
            except PacsOccupied:
                continue

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()

    def most() -> int:
        peaks.clear()
        time.sleep(0.5)
        return max(peaks, default=0)

    try:
        yield most
    finally:
        done.set()
        for thread in threads:
            thread.join(20)


def test_a_pacs_that_refuses_above_two_is_driven_at_two_and_recovers(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "RETURN_PATIENCE_S", 2.0)
    allow(database, 4)
    bears = [2]
    newest = "select concurrency, ceiling from pacs_event order by event_id desc limit 1"
    with movers(database, bears) as most:
        eventually(lambda: rows(database, newest) == [{"concurrency": 2, "ceiling": 2}], 40)
        eventually(lambda: most() == 2, 20)
        bears[0] = 99
        eventually(lambda: rows(database, newest) == [{"concurrency": 4, "ceiling": 4}], 40)
        eventually(lambda: most() == 4, 20)
    reasons = {str(row["reason"]) for row in rows(database, "select reason from pacs_event where kind = 'slow-down'")}
    assert reasons == {"C-MOVE answered A702: out of resources"}
    assert rows(database, "select max(concurrency) as n from pacs_event") == [{"n": 4}], "never above policy"


def test_what_was_learned_survives_a_restart(database: Database) -> None:
    allow(database, 4)
    with ExitStack() as stack:
        holds = [stack.enter_context(asks(database, f"{n}").association()) for n in range(4)]
        with holds[0].request("C-MOVE") as request:
            request.answered("A702")
    with ExitStack() as stack:
        for n in range(2):
            stack.enter_context(asks(database, f"{n}").association())
        with pytest.raises(PacsOccupied), asks(database, patience_s=0.2).association():
            pass


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PacsAborted("x"), "broke an association off"),
        (PacsBusy("x"), "too many are open"),
        (PacsUnreachable("x"), None),
    ],
)
def test_which_errors_slow_down(database: Database, error: Exception, words: str | None) -> None:
    governor = asks(database)
    with governor.association(), pytest.raises(type(error)), governor.request():
        raise error
    reasons = [str(row["reason"]) for row in rows(database, "select reason from pacs_event")]
    assert [words in reason for reason in reasons if words] == ([True] if words else [])
    assert len(reasons) == (1 if words else 0)


def test_one_congestion_is_one_slow_down(database: Database) -> None:
    allow(database, 4)
    with ExitStack() as stack:
        holds = [stack.enter_context(asks(database, f"{n}").association()) for n in range(4)]
        requests = [stack.enter_context(hold.request("C-MOVE")) for hold in holds]
        for request in requests:
            request.answered("A702")
    assert len(rows(database, "select from pacs_event")) == 1


def test_asking_costs_little_beside_asking_a_pacs(database: Database) -> None:
    allow(database, 1, queries_per_s=1e6, bytes_per_s=1e9)
    governor = asks(database)
    costs: list[float] = []
    with governor.association():
        for _ in range(300):
            began = time.perf_counter()
            with governor.request("C-MOVE") as request:
                request.answered("0000", 1)
            costs.append(time.perf_counter() - began)
    assert sorted(costs)[len(costs) // 2] < 0.01  # 1 ms when nothing else runs; other tests share the cores
