"""Small studies are asked for together where the PACS can do that, and nothing is less certain for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage
from pynetdicom import build_context, evt

from sluice.database import Database
from sluice.pacs.fetch import together
from sluice.pacs.fetch.attempts import Attempt, AttemptLog
from sluice.pacs.fetch.together import Together
from sluice.pacs.fetch.wanted import Request
from sluice.pacs.governor import Governor, Use
from sluice.pacs.governor.policy import ensure_policy
from sluice.pacs.outcomes import Moved
from sluice.pacs.receiver.receive import Receiver
from tests.pacs.pretend import PretendPacs, make_study
from tests.pacs.sending import rows
from tests.pacs.test_retrieve import expect, fetch, reasons


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluice.pacs.fetch.arrivals.PATIENCE_S", 1.0)


@pytest.fixture
def holds() -> list[Dataset]:
    """Twelve studies of two series of three instances."""
    return [instance for _ in range(12) for instance in make_study()]


@pytest.fixture
def pacs(database: Database, receiver: Receiver, holds: list[Dataset]) -> Iterator[PretendPacs]:
    expect(database, holds)
    with PretendPacs(holds, {"SLUICE": ("127.0.0.1", receiver.port)}) as running:
        yield running


def sizes(pacs: PretendPacs) -> list[int]:
    """How many studies each C-MOVE named."""
    return [asked["StudyInstanceUID"].VM for asked in pacs.moves]


def takes_lists(database: Database) -> bool | None:
    found = rows(database, "select value from pacs_fact where fact = 'moves_together'")
    return bool(found[0]["value"]) if found else None


def behaving(pacs: PretendPacs, move: Callable[[evt.Event], Iterator[Any]]) -> None:
    """Have a PACS answer C-MOVE otherwise."""
    pacs.server.unbind(evt.EVT_C_MOVE, pacs._move)
    pacs.server.bind(evt.EVT_C_MOVE, move)


def test_one_study_first_then_many_in_a_request(database: Database, pacs: PretendPacs) -> None:
    summary = fetch(database, None, pacs.node())
    assert sizes(pacs) == [1, 10, 1]
    assert (summary.requests, summary.studies, summary.arrived, summary.missing) == (3, 12, 72, 0)
    assert takes_lists(database) is True
    attempts = rows(database, "select status, wanted, completed, arrived, reason_code, detail from attempt")
    assert {tuple(one.values())[:5] for one in attempts} == {("0000", 6, 6, 6, None)}
    assert len(attempts) == 12
    assert sum("10 studies together" in str(one["detail"]) for one in attempts) == 10


def test_what_is_known_of_a_pacs_needs_no_first_one(database: Database, pacs: PretendPacs) -> None:
    database.execute("insert into pacs_fact (pacs, fact, value) values ('pretend', 'moves_together', 1)")
    assert fetch(database, None, pacs.node()).missing == 0
    assert sizes(pacs) == [10, 2]


def test_a_pacs_that_takes_the_first_of_a_list_only_is_known_then(database: Database, pacs: PretendPacs) -> None:
    def move(event: evt.Event) -> Iterator[Any]:
        asked = event.identifier
        pacs.moves.append(asked)
        first = Dataset()
        element = asked["StudyInstanceUID"]
        first.StudyInstanceUID = element.value if element.VM == 1 else element.value[0]
        wanted = [one for one in pacs.holds if one.StudyInstanceUID == first.StudyInstanceUID]
        yield (*pacs.destinations["SLUICE"], {"ae_title": "SLUICE", "contexts": [build_context(CTImageStorage)]})
        yield len(wanted)
        for one in wanted:
            yield 0xFF00, one

    behaving(pacs, move)
    assert fetch(database, None, pacs.node()).missing == 0
    assert sizes(pacs) == [1, 10, *[1] * 10], "each that the list left open is asked for by itself"
    assert takes_lists(database) is False
    pacs.moves.clear()
    late = [instance for _ in range(3) for instance in make_study()]
    pacs.holds += late
    expect(database, late)
    assert fetch(database, None, pacs.node()).missing == 0
    assert sizes(pacs) == [1, 1, 1]


def test_what_one_study_has_more_than_expected_does_not_count_for_the_others_of_its_list(
    database: Database, pacs: PretendPacs
) -> None:
    """The PACS takes the first of a list only, and has sent as many instances as were expected of all."""

    def move(event: evt.Event) -> Iterator[Any]:
        pacs.moves.append(event.identifier)
        element = event.identifier["StudyInstanceUID"]
        study = element.value if element.VM == 1 else element.value[0]
        sent = [one for one in pacs.holds if one.StudyInstanceUID == study] * element.VM
        yield (*pacs.destinations["SLUICE"], {"ae_title": "SLUICE", "contexts": [build_context(CTImageStorage)]})
        yield len(sent)
        for one in sent:
            yield 0xFF00, one

    behaving(pacs, move)
    assert fetch(database, None, pacs.node()).missing == 0
    assert sizes(pacs) == [1, 10, *[1] * 10]
    assert takes_lists(database) is False
    assert rows(database, "select from attempt where reason_code is not null") == []


def test_a_study_that_is_gone_gets_that_for_a_reason_though_another_has_more_than_expected(
    database: Database, pacs: PretendPacs, holds: list[Dataset]
) -> None:
    studies = sorted({str(one.StudyInstanceUID) for one in holds})
    gone = {one.SOPInstanceUID for one in holds if one.StudyInstanceUID == studies[3]}
    pacs.holds = [one for one in holds if one.StudyInstanceUID != studies[3]]
    twice = [one for one in holds if one.StudyInstanceUID == studies[4]]
    pacs.holds += twice
    summary = fetch(database, None, pacs.node())
    assert (summary.missing, summary.gone) == (6, 6)
    assert reasons(database) == dict.fromkeys(gone, "no-longer-held")
    assert takes_lists(database) is not False


def test_a_pacs_that_answers_before_all_has_come_is_asked_once(
    database: Database, pacs: PretendPacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = AttemptLog.arrived, list[int]()

    def late(self: AttemptLog, uids: Sequence[str]) -> set[str]:
        asked.append(len(uids))
        return set() if len(asked) % 3 else real(self, uids)

    monkeypatch.setattr(AttemptLog, "arrived", late)
    assert fetch(database, None, pacs.node()).requests == 3
    assert sizes(pacs) == [1, 10, 1]


def test_a_pacs_that_refuses_a_list_is_asked_for_each(database: Database, pacs: PretendPacs) -> None:
    real = pacs._move

    def move(event: evt.Event) -> Iterator[Any]:
        if event.identifier["StudyInstanceUID"].VM == 1:
            yield from real(event)
            return
        pacs.moves.append(event.identifier)
        yield 0  # pynetdicom wants an address first; an impossible one ends in A801

    behaving(pacs, move)
    assert fetch(database, None, pacs.node()).missing == 0
    assert takes_lists(database) is False
    assert set(rows(database, "select distinct status from attempt")[0].values()) == {"0000"}


def test_an_instance_that_fails_in_a_list_gets_its_own_reason_and_lists_go_on(
    database: Database, pacs: PretendPacs, holds: list[Dataset]
) -> None:
    broken = sorted(holds, key=lambda one: str(one.StudyInstanceUID))[3 * 6].SOPInstanceUID  # not in the first study
    pacs.fail = {broken}
    summary = fetch(database, None, pacs.node())
    assert (summary.missing, summary.failed) == (1, 1)
    assert reasons(database) == {broken: "failed-suboperation"}
    assert sizes(pacs)[:2] == [1, 10]
    assert takes_lists(database) is not False
    pacs.fail = set()
    assert fetch(database, None, pacs.node()).missing == 0


def test_an_instance_that_fails_once_in_a_list_says_nothing_of_lists(
    database: Database, pacs: PretendPacs, holds: list[Dataset]
) -> None:
    pacs.fail = {sorted(holds, key=lambda one: str(one.StudyInstanceUID))[3 * 6].SOPInstanceUID}
    real = pacs._move

    def move(event: evt.Event) -> Iterator[Any]:
        if len(pacs.moves) == 2:  # the study by itself
            pacs.fail = set()
        yield from real(event)

    behaving(pacs, move)
    assert fetch(database, None, pacs.node()).missing == 0
    assert sizes(pacs)[:3] == [1, 10, 1]
    assert takes_lists(database) is not False, "nine of ten came by it"


def test_an_abort_in_a_list_loses_nothing(database: Database, pacs: PretendPacs) -> None:
    pacs.abort_after = 20  # a study alone has 6
    assert fetch(database, None, pacs.node()).missing == 0
    assert len(rows(database, "select from receipt")) == 72
    assert takes_lists(database) is None, "an abort proves nothing of lists"


def test_large_studies_go_alone(database: Database, pacs: PretendPacs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "MOST_INSTANCES", 11)
    assert fetch(database, None, pacs.node()).missing == 0
    assert sizes(pacs) == [1] * 12


def test_what_came_of_a_list_is_counted_by_the_governor(database: Database, pacs: PretendPacs) -> None:
    from sluice.pacs.fetch.retrieve import missing_studies, move_missing
    from tests.pacs.test_retrieve import KEY

    ensure_policy(database, "pretend", 1, "UTC")
    governor = Governor(database, "pretend", Use("retrieve", "me", window=KEY))
    moved = move_missing(database, pacs.node(), KEY, missing_studies(database, KEY), governor)
    (use,) = rows(database, "select requests, bytes from pacs_use")
    (held,) = rows(database, "select sum(bytes) as bytes from receipt")
    assert (use["requests"], use["bytes"]) == (moved.requests, held["bytes"]) == (3, held["bytes"])


def test_a_list_is_doubted_only_when_all_of_it_go_well_alone(database: Database) -> None:
    asked = [Request("STUDY", f"1.{number}", None, ("1", "2")) for number in range(3)]
    plan = Together(database, "pretend")

    def nothing(uids: Sequence[str]) -> set[str]:
        return set()

    def alone(request: Request, status: str, missing: list[str]) -> None:
        plan.note(Attempt(1, "pretend", request, Moved(status=status, completed=2), missing))

    assert plan.first_of(asked) == asked[:1]
    alone(Request("STUDY", "1.9", None, ("1",)), "0000", [])
    assert plan.first_of(asked) == asked
    assert plan.shares(asked, Moved(status="B000", completed=5, failed=1), nothing) == [None, None, None]
    assert plan.first_of(asked) == asked[:1]
    for request in asked[:2]:
        alone(request, "0000", [])
    alone(asked[2], "B000", ["2"])
    assert takes_lists(database) is None, "one of them fails alone, too: it was not the list"
    others = [Request("STUDY", f"2.{number}", None, ("1", "2")) for number in range(2)]
    assert plan.first_of(others) == others
    assert plan.shares(others, Moved(status="0000"), nothing) == [None, None]
    for request in others:
        alone(request, "0000", [])
    assert takes_lists(database) is False
    assert plan.first_of([Request("STUDY", "3", None, ("1",))] * 2) == [Request("STUDY", "3", None, ("1",))]
