"""The governor over real associations: sweeps and retrievals pass it, and give way in the middle."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import date

import pytest
from pynetdicom import evt

from sluice.__main__ import main
from sluice.database import Database
from sluice.pacs.errors import PacsBusy
from sluice.pacs.fetch.retrieve import missing_studies, move_missing
from sluice.pacs.find.sweep import sweep
from sluice.pacs.governor import Governor, PacsClosed, Priority, RetrievalPaused, Use
from sluice.pacs.governor import hold as holding
from sluice.pacs.governor.orders import order_retrieval
from sluice.pacs.governor.policy import Limits, Policy, change_policy
from sluice.pacs.receiver.receive import Receiver
from sluice.settings import settings
from sluice.windows import Window
from tests.pacs.pretend import PretendPacs, make_study
from tests.pacs.sending import rows

WINDOW = Window.of_day(date(2026, 10, 26))
KEY = WINDOW.key


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "TICK_S", 0.1)
    monkeypatch.setattr("sluice.pacs.fetch.arrivals.PATIENCE_S", 1.0)


@pytest.fixture
def pacs(receiver: Receiver) -> Iterator[PretendPacs]:
    holds = [instance for _ in range(4) for instance in make_study(1, 2)]
    with PretendPacs(holds, {"SLUICE": ("127.0.0.1", receiver.port)}) as running:
        yield running


def allow(database: Database, concurrency: int, hours: str = "f") -> None:
    limits = Limits(concurrency)
    change_policy(database, "pretend", Policy("Europe/Berlin", (hours * 24,) * 7, limits, limits), "test")


def governor(database: Database, purpose: str, priority: Priority = Priority.ROUTINE, who: str = "me") -> Governor:
    return Governor(database, "pretend", Use(purpose, who, priority, KEY), patience_s=30)


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "not within 20 s"
        time.sleep(0.02)


def test_a_sweep_and_a_retrieval_pass_the_governor_and_are_counted(
    pacs: PretendPacs, database: Database, receiver: Receiver
) -> None:
    allow(database, 1)
    summary = sweep(database, pacs.node(), WINDOW, governor(database, "sweep", who="a sweep"))
    moved = move_missing(
        database, pacs.node(), KEY, missing_studies(database, KEY), governor(database, "retrieve", who="a retrieval")
    )
    assert (summary.instances, moved.arrived) == (8, 8)
    used = {row["who"]: row for row in rows(database, "select who, requests, bytes, ended_by from pacs_use")}
    assert used["a sweep"]["requests"] == summary.queries
    assert used["a retrieval"]["requests"] == moved.requests
    (held,) = rows(database, "select sum(bytes) as bytes from receipt")
    assert used["a retrieval"]["bytes"] == held["bytes"]
    assert {row["ended_by"] for row in used.values()} == {"released"}
    services = rows(database, "select service from pacs_latency order by 1")
    assert [row["service"] for row in services] == ["C-FIND", "C-MOVE"]


def test_closed_hours_let_no_association_through(pacs: PretendPacs, database: Database) -> None:
    allow(database, 1, ".")
    with pytest.raises(PacsClosed):
        sweep(database, pacs.node(), WINDOW, governor(database, "sweep"))
    assert pacs.queries == []


def test_a_long_sweep_lets_an_urgent_query_through_and_goes_on(pacs: PretendPacs, database: Database) -> None:
    allow(database, 1)
    order: list[str] = []
    taken = threading.Event()

    def urgent() -> None:
        with governor(database, "cohort", Priority.URGENT, "urgent").association():
            order.append("urgent")

    real = pacs._find

    def watched(event: object) -> object:
        if len(pacs.queries) == 3 and not taken.is_set():
            taken.set()
            threads.append(threading.Thread(target=urgent))
            threads[0].start()
            eventually(lambda: rows(database, "select from pacs_use where who = 'urgent'"))
            time.sleep(0.4)  # some ticks of the holder
        return real(event)  # type: ignore[arg-type]

    threads: list[threading.Thread] = []
    pacs.server.unbind(evt.EVT_C_FIND, pacs._find)
    pacs.server.bind(evt.EVT_C_FIND, watched)
    summary = sweep(database, pacs.node(), WINDOW, governor(database, "sweep", Priority.BACKFILL, "sweep"))
    threads[0].join(20)
    assert order == ["urgent"]
    assert (summary.instances, summary.uncertain) == (8, 0)
    ended = [(row["who"], row["ended_by"]) for row in rows(database, "select * from pacs_use order by lease_id")]
    assert ended == [("sweep", "gave-way"), ("urgent", "released"), ("sweep", "released")]


def test_a_paused_retrieval_stops_and_what_has_come_stays(
    pacs: PretendPacs, database: Database, receiver: Receiver
) -> None:
    allow(database, 1)
    sweep(database, pacs.node(), WINDOW)
    asking = governor(database, "retrieve")
    order_retrieval(database, KEY, "vera", "paused")
    with pytest.raises(RetrievalPaused):
        move_missing(database, pacs.node(), KEY, missing_studies(database, KEY), asking)
    assert pacs.moves == []
    order_retrieval(database, KEY, "vera", "active")
    assert move_missing(database, pacs.node(), KEY, missing_studies(database, KEY), asking).missing == 0


def test_a_pacs_with_too_many_associations_slows_us_down(pacs: PretendPacs, database: Database) -> None:
    allow(database, 4)
    pacs.server.ae.maximum_associations = 1
    with governor(database, "sweep", who="first").association():
        from sluice.pacs.association import FIND, associate

        with associate(pacs.node(), FIND), pytest.raises(PacsBusy):
            sweep(database, pacs.node(), WINDOW, governor(database, "sweep", who="second"))
    (event,) = rows(database, "select reason, in_use, concurrency from pacs_event")
    assert event == {"reason": "the PACS rejected an association: too many are open", "in_use": 2, "concurrency": 1}


def test_the_command_line_shows_and_orders(
    pacs: PretendPacs, database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLUICE_DATABASE_URL", database.url)
    settings.cache_clear()
    try:
        assert main(["pacs"]) == 0
        assert "No PACS was ever asked" in capsys.readouterr().out
        allow(database, 2)
        sweep(database, pacs.node(), WINDOW)
        with governor(database, "retrieve", Priority.URGENT, "part 1 of 2").association():
            assert main(["pacs"]) == 0
        said = capsys.readouterr().out
        assert "pretend: full hours, 1 of 2 associations in use" in said
        assert "uses  urgent   retrieve part 1 of 2 since" in said
        assert main(["pacs", "pause", KEY]) == 0
        assert main(["pacs", "resume", KEY, "--priority", "backfill"]) == 0
        assert capsys.readouterr().out == f"{KEY}: paused\n{KEY}: active, backfill\n"
        assert main(["pacs", "cancel", KEY]) == 0
        assert main(["pacs"]) == 0
        assert f"{KEY}: 0 of 8 instances here, cancelled by" in capsys.readouterr().out
        assert main(["pacs", "cancel", "1999-01-01"]) == 1
        assert "No such window" in capsys.readouterr().err
        assert main(["pacs", "pause"]) == 2
        assert "Name the window" in capsys.readouterr().err
    finally:
        settings.cache_clear()
