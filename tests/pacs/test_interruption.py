"""A request that is under way ends when people, the hours or somebody more urgent want it to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import evt

from sluice.archive.storing import Storing
from sluice.database import Database
from sluice.pacs import interruption
from sluice.pacs.fetch.attempts import reasons_of
from sluice.pacs.fetch.retrieve import missing_studies, note_gaps
from sluice.pacs.fetch.wanted import Request, rest_of
from sluice.pacs.governor import (
    Governor,
    GovernorLost,
    PacsClosed,
    Priority,
    RetrievalCancelled,
    RetrievalPaused,
    Use,
)
from sluice.pacs.governor import hold as holding
from sluice.pacs.governor.orders import order_retrieval
from sluice.pacs.governor.policy import Limits, Policy, change_policy
from sluice.pacs.outcomes import Moved
from sluice.pacs.receiver.receive import Receiver
from tests.pacs.interrupting import LONGEST_S, Retrieval, eventually, holder_has_looked
from tests.pacs.pretend import PretendPacs, make_study
from tests.pacs.pretend_web import PretendWeb
from tests.pacs.sending import rows
from tests.pacs.test_retrieve import KEY, expect

BEFORE = 3  # sub-operations before a PACS here stands still


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "TICK_S", 0.1)
    monkeypatch.setattr(interruption, "LOOK_S", 0.1)
    monkeypatch.setattr("sluice.pacs.patience.LOOK_S", 0.1)
    monkeypatch.setattr("sluice.pacs.serving.LOOK_S", 0.1)
    monkeypatch.setattr("sluice.pacs.fetch.arrivals.PATIENCE_S", 1.0)


# --- what the ledger says ----------------------------------------------------------------------------------------


def test_what_a_pacs_counts_as_failed_after_our_cancel_is_our_doing() -> None:
    moved = Moved("B000", completed=1, failed=2, failed_uids=frozenset({"1.2"}), interrupted=True)
    moved.instances = {"1.4": ("no-space", "A700")}
    assert reasons_of(moved, ["1.2", "1.3", "1.4"]) == {
        "1.2": "interrupted", "1.3": "interrupted", "1.4": "no-space",
    }  # fmt: skip


def test_the_rest_of_a_request_is_what_it_wanted_and_has_not_come() -> None:
    def row(uid: str, series: str = "2", missing: int = 2) -> dict[str, Any]:
        return {"sop_instance_uid": uid, "series_instance_uid": series, "study_instance_uid": "1",
                "sop_class_uid": "9", "missing_in_study": missing, "expected_in_study": 9,
                "missing_in_series": missing, "expected_in_series": 2}  # fmt: skip

    some = Request("IMAGE", "1", "2", ("a", "b", "c"), frozenset({"9"}))
    assert rest_of(some, [row("b"), row("x")]) == [Request("IMAGE", "1", "2", ("b",), frozenset({"9"}))]
    assert rest_of(some, [row("x")]) == []
    whole = Request("STUDY", "1", None, ("a", "b", "c"), frozenset({"9"}))
    assert [(one.level, one.wanted) for one in rest_of(whole, [row("a"), row("b"), row("c", "3", 1)])] == [
        ("SERIES", ("a", "b")),
        ("IMAGE", ("c",)),
    ]


# --- a retrieval past the governor -------------------------------------------------------------------------------


def allow(database: Database, hours: str = "f", pacs: str = "pretend") -> None:
    limits = Limits(1)
    change_policy(database, pacs, Policy("Europe/Berlin", (hours * 24,) * 7, limits, limits), "test")


def pause(database: Database) -> None:
    order_retrieval(database, KEY, "vera", "paused")


def cancel(database: Database) -> None:
    order_retrieval(database, KEY, "vera", "cancelled")


def lose(database: Database) -> None:
    database.execute("update pacs_use set ended_at = now(), ended_by = 'died'")


def cut_off(database: Database) -> None:
    database.execute("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and classid = 4711")


@pytest.fixture
def holds(database: Database) -> list[Dataset]:
    """A study of two series of four instances, each larger than what is read of an HTTP answer at once."""
    made = make_study(2, 4)
    for instance in made:
        instance.PixelData = bytes(300_000)
    expect(database, made)
    return made


@pytest.fixture
def storing(database: Database, tmp_path: Path) -> Iterator[Storing]:
    with Storing(database, tmp_path / "archive", tmp_path / "spool", min_free_bytes=1) as running:
        yield running


class Standing:
    """A PACS that stands still before a sub-operation until it is told to stop, once.

    Args:
        at: before which.
        then: the status that it answers then; None to go on.
        heeds: whether the C-CANCEL-RQ is enough; otherwise it stands until the association is over.
    """

    def __init__(self, at: int = BEFORE, then: int | None = 0xFE00, heeds: bool = True) -> None:
        self.at, self.then, self.heeds = at, then, heeds
        self.reached = threading.Event()
        self.over = threading.Event()

    def __call__(self, event: evt.Event, number: int) -> int | None:
        if number != self.at or self.reached.is_set():
            return None
        self.reached.set()
        # "Sta6": the association is there. `is_established` changes only when this handler has returned
        eventually(lambda: event.is_cancelled if self.heeds else event.assoc.dul.state_machine.current_state != "Sta6")
        self.over.set()
        return self.then


@pytest.fixture
def pacs(receiver: Receiver, holds: list[Dataset]) -> Iterator[PretendPacs]:
    with PretendPacs(holds, {"SLUICE": ("127.0.0.1", receiver.port)}, offers_get=True) as running:
        yield running


def attempts(database: Database) -> list[tuple[Any, ...]]:
    found = rows(database, "select status, wanted, arrived, reason_code from attempt order by attempt_id")
    return [tuple(one.values()) for one in found]


def reasons(database: Database) -> list[Any]:
    note_gaps(database, KEY, missing_studies(database, KEY))
    return [one["reason_code"] for one in rows(database, "select reason_code from missing_instance")]


def interrupted(pacs: PretendPacs, stand: Standing, retrieval: Retrieval, order: Callable[[], object]) -> Any:
    """What a retrieval comes to that is told to end while the PACS stands."""
    pacs.before = stand
    retrieval.start()
    assert stand.reached.wait(LONGEST_S)
    retrieval.ordered()
    order()
    return retrieval.outcome


@pytest.mark.parametrize(
    ("order", "stop"),
    [
        (pause, RetrievalPaused),
        (cancel, RetrievalCancelled),
        (lambda database: allow(database, "."), PacsClosed),
        (lose, GovernorLost),
        (cut_off, GovernorLost),
    ],
    ids=["pause", "cancel", "hours", "lost", "cut off"],
)
def test_a_move_ends_within_seconds_and_its_rest_is_asked_for_later(
    order: Callable[[Database], object], stop: type, pacs: PretendPacs, database: Database
) -> None:
    allow(database)
    retrieval = Retrieval(database, pacs.node(timeout_s=60), KEY)
    outcome = interrupted(pacs, Standing(), retrieval, lambda: order(database))
    assert isinstance(outcome, stop), outcome
    assert retrieval.took_s < 10
    assert attempts(database) == [("FE00", 8, BEFORE, "interrupted")]
    if stop is not RetrievalCancelled:
        assert reasons(database) == ["interrupted"] * (8 - BEFORE)
    assert rows(database, "select * from pacs_event") == []
    assert len(pacs.moves) == 1
    assert pacs.gets == pacs.queries == []
    allow(database)
    order_retrieval(database, KEY, "vera", "active")
    summary = Retrieval(database, pacs.node(), KEY).start().outcome
    assert (summary.wanted, summary.missing) == (8 - BEFORE, 0)
    assert sorted(asked.QueryRetrieveLevel for asked in pacs.moves[1:]) == ["IMAGE", "SERIES"]
    assert rows(database, "select count(*) as n from receipt") == [{"n": 8}]


def test_a_pacs_that_was_never_seen_to_move_is_not_doubted(pacs: PretendPacs, database: Database) -> None:
    allow(database)
    node = pacs.node(retrieve_by="auto")
    outcome = interrupted(pacs, Standing(at=0), Retrieval(database, node, KEY), lambda: pause(database))
    assert isinstance(outcome, RetrievalPaused)
    assert attempts(database) == [("FE00", 8, 0, "interrupted")]
    assert pacs.gets == pacs.queries == []
    assert rows(database, "select * from pacs_fact") == []


def test_an_association_is_aborted_where_the_cancel_is_ignored(
    pacs: PretendPacs, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interruption, "GRACE_S", 0.5)
    allow(database)
    stand = Standing(heeds=False)
    retrieval = Retrieval(database, pacs.node(timeout_s=60), KEY)
    outcome = interrupted(pacs, stand, retrieval, lambda: pause(database))
    assert isinstance(outcome, RetrievalPaused)
    assert stand.over.wait(LONGEST_S), "the association is over"
    assert retrieval.took_s < 10
    assert attempts(database) == [(None, 8, BEFORE, "interrupted")]
    assert rows(database, "select * from pacs_event") == []


def test_a_move_that_ends_at_the_same_moment_is_one_that_ended(pacs: PretendPacs, database: Database) -> None:
    allow(database)
    stand = Standing(at=7, then=None)
    summary = interrupted(pacs, stand, Retrieval(database, pacs.node(), KEY), lambda: pause(database))
    assert (summary.missing, summary.arrived) == (0, 8)
    assert attempts(database) == [("0000", 8, 8, None)]


def test_somebody_more_urgent_is_let_through_in_the_middle(
    pacs: PretendPacs, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "UNDISTURBED_S", 0.0)
    allow(database)
    held = threading.Event()

    def urgent() -> None:
        use = Use("cohort", "urgent", Priority.URGENT)
        with Governor(database, "pretend", use, patience_s=LONGEST_S).association():
            held.set()

    other = threading.Thread(target=urgent)
    backfill = Retrieval(database, pacs.node(), KEY, priority=Priority.BACKFILL)
    summary = interrupted(pacs, Standing(), backfill, other.start)
    other.join(LONGEST_S)
    assert held.is_set()
    assert (summary.missing, summary.requests) == (0, 3)
    assert attempts(database)[0] == ("FE00", 8, BEFORE, "interrupted")
    assert rows(database, "select who, ended_by from pacs_use order by lease_id") == [
        {"who": "a retrieval", "ended_by": "gave-way"},
        {"who": "urgent", "ended_by": "released"},
        {"who": "a retrieval", "ended_by": "released"},
    ]


def test_urgency_cuts_a_request_only_when_it_has_run_for_a_while(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(database)

    def asks(who: str, priority: Priority) -> Governor:
        return Governor(database, "pretend", Use("test", who, priority), patience_s=LONGEST_S)

    def wait(priority: Priority) -> threading.Thread:
        def hold() -> None:
            with asks(priority.name, priority).association():
                pass

        thread = threading.Thread(target=hold)
        thread.start()
        eventually(lambda: rows(database, f"select from pacs_use where who = '{priority.name}'"))
        return thread

    with asks("long", Priority.ROUTINE).association() as hold, hold.request("C-MOVE") as request:
        waiting = [wait(Priority.ROUTINE)]
        database.execute("update pacs_use set waiting_since = now() - interval '1 hour' where who = 'ROUTINE'")
        database.execute("update pacs_use set granted_at = now() - interval '1 hour' where who = 'long'")
        eventually(lambda: hold._seen is not None and not hold._seen.is_our_turn)
        monkeypatch.setattr(holding, "UNDISTURBED_S", 0.0)
        assert not request.has_to_end(), "an equal waits for the end of the request"
        waiting.append(wait(Priority.URGENT))
        eventually(request.has_to_end)
        monkeypatch.setattr(holding, "UNDISTURBED_S", 3600.0)
        assert not request.has_to_end()
    for thread in waiting:
        thread.join(LONGEST_S)
        assert not thread.is_alive()


# --- C-GET and WADO-RS -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("heeds", [True, False])
def test_a_get_ends_within_seconds(
    heeds: bool, pacs: PretendPacs, database: Database, storing: Storing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interruption, "GRACE_S", 10.0 if heeds else 0.5)
    allow(database)
    node = pacs.node(retrieve_by="C-GET", timeout_s=60)
    retrieval = Retrieval(database, node, KEY, storing)
    outcome = interrupted(pacs, Standing(heeds=heeds), retrieval, lambda: pause(database))
    assert isinstance(outcome, RetrievalPaused)
    assert retrieval.took_s < 10
    assert attempts(database) == [("FE00" if heeds else None, 8, BEFORE, "interrupted")]
    assert rows(database, "select * from pacs_event") == []
    order_retrieval(database, KEY, "vera", "active")
    assert Retrieval(database, pacs.node(retrieve_by="C-GET"), KEY, storing).start().outcome.missing == 0
    assert rows(database, "select count(*) as n from receipt") == [{"n": 8}]


@pytest.mark.parametrize("grace_s", [10.0, 0.0])
def test_a_download_ends_between_two_parts_or_in_one_that_takes_too_long(
    grace_s: float, database: Database, holds: list[Dataset], storing: Storing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interruption, "GRACE_S", grace_s)
    allow(database, pacs="web")
    with PretendWeb(holds) as web:
        reached, go = threading.Event(), threading.Event()

        def halfway() -> None:
            reached.set()
            assert go.wait(LONGEST_S)

        web.halfway = halfway
        retrieval = Retrieval(database, web.node(timeout_s=60), KEY, storing).start()
        assert reached.wait(LONGEST_S)
        retrieval.ordered()
        pause(database)
        holder_has_looked(database)
        go.set()
        assert isinstance(retrieval.outcome, RetrievalPaused)
        (first,) = attempts(database)
        assert (first[0], first[1], first[3]) == ("200", 8, "interrupted")
        assert first[2] <= 5, "more than the half that had come and the part in the middle"
        assert list(storing.archive.incoming.iterdir()) == []
        assert rows(database, "select * from pacs_event") == []
        order_retrieval(database, KEY, "vera", "active")
        assert Retrieval(database, web.node(), KEY, storing).start().outcome.missing == 0


def test_between_two_instances_of_a_download_what_has_come_is_told(
    database: Database, holds: list[Dataset], storing: Storing
) -> None:
    allow(database, pacs="web")
    with PretendWeb(holds, leave_out={one.SOPInstanceUID for one in holds[1:]}) as web:
        assert Retrieval(database, web.node(), KEY, storing).start().outcome.missing == 0  # the others one by one
        database.execute("delete from receipt where sop_instance_uid <> %s", (holds[0].SOPInstanceUID,))
        database.execute("delete from attempt_missing")
        database.execute("delete from attempt")

        def halfway() -> None:
            web.halfway = lambda: None
            pause(database)
            holder_has_looked(database)

        web.halfway = halfway
        outcome = Retrieval(database, web.node(timeout_s=60), KEY, storing).start().outcome
    assert isinstance(outcome, RetrievalPaused)
    assert attempts(database)[-1] == ("200", 3, 1, "interrupted")


def test_an_answer_that_came_when_the_slot_was_gone_is_told_all_the_same(
    pacs: PretendPacs, database: Database, holds: list[Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postgres was restarted while the PACS sent, and nobody has noticed when it answers."""
    monkeypatch.setattr(holding, "TICK_S", 60.0)
    allow(database)
    other = make_study(2, 4)
    expect(database, other)
    pacs.holds += other
    pacs.fail = {study[0].SOPInstanceUID for study in (holds, other)}
    real = pacs._move

    def move(event: evt.Event) -> Iterator[Any]:
        yield from real(event)
        cut_off(database)

    pacs.server.unbind(evt.EVT_C_MOVE, pacs._move)
    pacs.server.bind(evt.EVT_C_MOVE, move)
    retrieval = Retrieval(database, pacs.node(timeout_s=60), KEY).start()
    assert isinstance(retrieval.outcome, GovernorLost), "the other study is not asked for without a slot"
    assert attempts(database) == [("B000", 8, 7, "failed-suboperation")]
