"""What is missing is fetched by the way and from the source that has it, and each gap gets its own reason."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLSLossless, RLELossless

from sluice.archive.storing import Storing
from sluice.database import Database
from sluice.pacs.errors import PacsAborted, PacsStatusError, PacsUnreachable, ServiceNotOffered
from sluice.pacs.fetch.attempts import plan_attempt, unplan_attempt
from sluice.pacs.fetch.get import MOST_CONTEXTS, SYNTAXES, USUAL_CLASSES, class_uids, storage_contexts
from sluice.pacs.fetch.learned import TOGETHER, learn
from sluice.pacs.fetch.retrieve import missing_studies, note_gaps, retrieve_missing
from sluice.pacs.fetch.ways import MustCarry, Source
from sluice.pacs.governor import Governor, Use
from sluice.pacs.governor.policy import ensure_policy
from sluice.pacs.node import Credentials, PacsNode
from sluice.pacs.receiver.receive import Receiver
from sluice.stack.processes import free_port
from sluice.windows import Window, remember_window
from tests.pacs.pretend import PretendPacs, make_study
from tests.pacs.sending import rows, send

WINDOW = Window.of_day(date(2026, 10, 26))
KEY = WINDOW.key


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluice.pacs.fetch.arrivals.PATIENCE_S", 1.0)


@pytest.fixture
def holds() -> list[Dataset]:
    """Three studies of two series of three instances."""
    return [instance for _ in range(3) for instance in make_study()]


@pytest.fixture
def storing(database: Database, tmp_path: Path) -> Iterator[Storing]:
    with Storing(database, tmp_path / "archive", tmp_path / "spool", min_free_bytes=1) as running:
        yield running


def expect(database: Database, instances: list[Dataset], sop_class: bool = True) -> None:
    """As a sweep of a PACS would."""
    remember_window(database, WINDOW)
    for one in instances:
        database.execute(
            "insert into expectation (window_key, sop_instance_uid, series_instance_uid, study_instance_uid, "
            "sop_class_uid, pacs) values (%s, %s, %s, %s, %s, 'pretend') on conflict do nothing",
            (
                KEY, one.SOPInstanceUID, one.SeriesInstanceUID, one.StudyInstanceUID,
                one.SOPClassUID if sop_class else None,
            ),
        )  # fmt: skip


def fetch(database: Database, storing: Storing | None, *nodes: PacsNode) -> Any:
    """One pass over everything that is missing."""
    return retrieve_missing(database, [Source(node) for node in nodes], KEY, missing_studies(database, KEY), storing)


def reasons(database: Database) -> dict[str, str]:
    note_gaps(database, KEY, missing_studies(database, KEY))
    found = rows(database, "select sop_instance_uid, reason_code from open_gap where step = 'received'")
    return {str(gap["sop_instance_uid"]): str(gap["reason_code"]) for gap in found}


def attempts(database: Database) -> list[tuple[Any, ...]]:
    """Source, kind, status, wanted and arrived of each attempt."""
    columns = ("pacs", "kind", "status", "wanted", "arrived")
    found = rows(database, "select * from attempt order by attempt_id")
    return [tuple(one[column] for column in columns) for one in found]


def test_c_get_brings_everything_into_archive_and_ledger(
    database: Database, storing: Storing, holds: list[Dataset]
) -> None:
    expect(database, holds)
    with PretendPacs(holds, offers_get=True) as pacs:
        summary = fetch(database, storing, pacs.node(retrieve_by="C-GET"))
        assert (summary.wanted, summary.arrived, summary.requests, summary.missing) == (18, 18, 3, 0)
        assert pacs.moves == []
    found = rows(database, "select * from receipt")
    assert {one["source"] for one in found} == {"get"}
    assert {one["calling_ae"] for one in found} == {"PRETEND"}
    for one in found:
        assert (storing.archive.root / str(one["path"])).stat().st_size == one["bytes"]
    sizes = rows(database, "select sum(bytes) as n from receipt")[0]["n"]
    assert rows(database, "select sum(bytes) as n from attempt") == [{"n": sizes}]
    assert list(storing.archive.incoming.iterdir()) == []


def test_objects_come_as_they_are_stored(database: Database, storing: Storing, holds: list[Dataset]) -> None:
    for instance, syntax in zip(holds, [RLELossless, JPEGLSLossless, RLELossless], strict=False):
        instance.file_meta.TransferSyntaxUID = syntax
        instance.PixelData = encapsulate([b"not decoded by anybody"])
        instance["PixelData"].VR = "OB"
    expect(database, holds)
    with PretendPacs(holds, offers_get=True) as pacs:
        assert fetch(database, storing, pacs.node(retrieve_by="C-GET")).missing == 0
    found = rows(database, "select sop_instance_uid, transfer_syntax_uid from receipt")
    assert {one["sop_instance_uid"]: one["transfer_syntax_uid"] for one in found} == {
        one.SOPInstanceUID: one.file_meta.TransferSyntaxUID for one in holds
    }


def test_a_pacs_that_names_no_classes_is_offered_the_usual_ones(
    database: Database, storing: Storing, holds: list[Dataset]
) -> None:
    expect(database, holds, sop_class=False)
    with PretendPacs(holds, offers_get=True) as pacs:
        assert fetch(database, storing, pacs.node(retrieve_by="C-GET")).missing == 0


@pytest.mark.parametrize("count", [1, 6, 7, 20, 41, 60, 62, 90, 124])
def test_contexts_fit_into_one_association_with_every_syntax(count: int) -> None:
    classes = [f"1.2.3.{number}" for number in range(count)]
    contexts = storage_contexts(classes)
    assert len(contexts) <= MOST_CONTEXTS
    for uid in classes:
        offered = [syntax for one in contexts if one.abstract_syntax == uid for syntax in one.transfer_syntax]
        assert sorted(offered) == sorted(SYNTAXES)
    assert class_uids(["1.2.3", None]) == {"1.2.3", *USUAL_CLASSES}
    assert class_uids(["1.2.3"]) == {"1.2.3"}


def test_what_is_found_out_about_c_move_is_kept(database: Database, storing: Storing, holds: list[Dataset]) -> None:
    expect(database, holds)
    with PretendPacs(holds, offers_get=True) as pacs:  # our receiver is no destination of it
        with pytest.raises(MustCarry, match="ask from a worker"):
            fetch(database, None, pacs.node())
        assert len(pacs.moves) == 1
        assert fetch(database, storing, pacs.node()).missing == 0
        assert len(pacs.moves) == 1, "asked by C-MOVE again"
        late = make_study()
        pacs.holds += late
        expect(database, late)
        database.execute("update pacs_fact set learned_at = now() - interval '2 days'")
        pacs.destinations["SLUICE"] = ("127.0.0.1", free_port())
        fetch(database, storing, pacs.node())
        assert len(pacs.moves) == 2, "an administrator may have added us since"
    assert attempts(database)[:2] == [("pretend", "C-MOVE", "A801", 6, 0), ("pretend", "C-GET", "0000", 6, 6)]


def test_c_move_is_preferred_and_remembered(database: Database, receiver: Receiver, holds: list[Dataset]) -> None:
    expect(database, holds)
    with PretendPacs(holds, {"SLUICE": ("127.0.0.1", receiver.port)}, offers_get=True) as pacs:
        assert fetch(database, None, pacs.node()).missing == 0
        assert pacs.gets == []
    assert rows(database, "select value from pacs_fact where fact = 'moves'") == [{"value": 1}]


def test_without_c_get_an_unknown_destination_stays_the_advice(
    database: Database, storing: Storing, holds: list[Dataset]
) -> None:
    expect(database, holds)
    with PretendPacs(holds) as pacs:
        with pytest.raises(PacsStatusError, match="does not know the move destination"):
            fetch(database, storing, pacs.node())
        with pytest.raises(ServiceNotOffered, match="does not offer C-GET"):
            fetch(database, storing, pacs.node(retrieve_by="C-GET"))
    assert rows(database, "select from pacs_fact") == []
    assert set(reasons(database).values()) == {"refused"}


def test_a_failed_suboperation_of_c_get_keeps_its_reason(
    database: Database, storing: Storing, holds: list[Dataset]
) -> None:
    expect(database, holds)
    failed, lied = holds[0].SOPInstanceUID, holds[7].SOPInstanceUID
    with PretendPacs(holds, offers_get=True, fail={failed}, lie={lied}) as pacs:
        summary = fetch(database, storing, pacs.node(retrieve_by="C-GET"))
        assert (summary.arrived, summary.failed, summary.not_arrived) == (16, 1, 1)
        assert reasons(database) == {failed: "failed-suboperation", lied: "reported-not-arrived"}
        pacs.fail, pacs.lie = set(), set()
        assert fetch(database, storing, pacs.node(retrieve_by="C-GET")).requests == 2
    assert reasons(database) == {}


def test_an_instance_that_always_fails_does_not_slow_the_pacs_down(
    database: Database, receiver: Receiver, holds: list[Dataset]
) -> None:
    expect(database, holds)
    failed = holds[0].SOPInstanceUID
    ensure_policy(database, "pretend", 2, "Europe/Berlin")
    governor = Governor(database, "pretend", Use("retrieve", "test", window=KEY))
    learn(database, "pretend", TOGETHER, False)
    with PretendPacs(holds, {"SLUICE": ("127.0.0.1", receiver.port)}, fail={failed}) as pacs:
        for _ in range(3):  # the second and third time it is asked for alone, which ends with A702
            retrieve_missing(database, [Source(pacs.node(), governor)], KEY, missing_studies(database, KEY))
    statuses = [one[2] for one in attempts(database)]
    assert (sorted(statuses[:3]), statuses[3:]) == (["0000", "0000", "B000"], ["A702", "A702"])
    assert reasons(database) == {failed: "failed-suboperation"}
    assert rows(database, "select reason from pacs_event where kind = 'slow-down'") == []


def test_an_abort_in_the_middle_of_a_c_get_keeps_what_came(
    database: Database, storing: Storing, holds: list[Dataset]
) -> None:
    expect(database, holds)
    with PretendPacs(holds, offers_get=True, abort_after=2) as pacs:
        summary = fetch(database, storing, pacs.node(retrieve_by="C-GET"))
        assert (summary.arrived, summary.aborted) == (14, 4)
        assert set(reasons(database).values()) == {"aborted"}
        assert fetch(database, storing, pacs.node(retrieve_by="C-GET")).missing == 0
        assert sorted(str(one.QueryRetrieveLevel) for one in pacs.gets[3:]) == ["IMAGE", "SERIES"]
    assert list(storing.archive.incoming.iterdir()) == []


def test_a_c_get_that_hangs_times_out(database: Database, storing: Storing, holds: list[Dataset]) -> None:
    expect(database, holds[:6])
    with PretendPacs(holds, offers_get=True, hang=threading.Event()) as pacs:
        assert fetch(database, storing, pacs.node(retrieve_by="C-GET", timeout_s=1)).timed_out == 6


def test_a_full_disk_is_our_fault_and_said_so(database: Database, tmp_path: Path, holds: list[Dataset]) -> None:
    expect(database, holds[:6])
    full = Storing(database, tmp_path / "archive", tmp_path / "spool", min_free_bytes=1 << 60)
    with full as storing, PretendPacs(holds, offers_get=True) as pacs:
        summary = fetch(database, storing, pacs.node(retrieve_by="C-GET"))
    assert (summary.arrived, summary.missing) == (0, 6)
    assert set(reasons(database).values()) == {"no-space"}
    assert rows(database, "select distinct status from attempt_missing") == [{"status": "A700"}]


def test_other_content_of_a_known_instance_is_set_aside(
    database: Database, storing: Storing, receiver: Receiver, holds: list[Dataset]
) -> None:
    known = holds[0]
    send(receiver.port, [known])
    expect(database, holds[1:3])  # the whole series as far as we know, so that the known one comes with it
    known.PatientID = "CHANGED"
    with PretendPacs(holds, offers_get=True) as pacs:
        assert fetch(database, storing, pacs.node(retrieve_by="C-GET")).missing == 0
    assert rows(database, "select sop_instance_uid from receipt_conflict") == [
        {"sop_instance_uid": known.SOPInstanceUID}
    ]


@pytest.mark.parametrize("way", ["C-MOVE", "C-GET"])
def test_what_the_pacs_no_longer_holds_is_told_apart(
    database: Database, storing: Storing, receiver: Receiver, holds: list[Dataset], way: str
) -> None:
    expect(database, holds)
    deleted = [*holds[:6], holds[6], holds[9]]
    destinations = {"SLUICE": ("127.0.0.1", receiver.port)}
    with PretendPacs([one for one in holds if one not in deleted], destinations, offers_get=True) as pacs:
        summary = fetch(database, storing, pacs.node(retrieve_by=way))
    assert (summary.arrived, summary.gone, summary.missing) == (10, 8, 8)
    assert reasons(database) == {one.SOPInstanceUID: "no-longer-held" for one in deleted}


def test_what_one_source_lacks_the_next_is_asked_for(
    database: Database, storing: Storing, receiver: Receiver, holds: list[Dataset]
) -> None:
    expect(database, holds)
    failed = holds[17].SOPInstanceUID
    with (
        PretendPacs(holds[:8], offers_get=True) as vna,
        PretendPacs(holds, {"SLUICE": ("127.0.0.1", receiver.port)}, fail={failed}) as main,
    ):
        summary = fetch(database, storing, vna.node(name="vna", retrieve_by="C-GET"), main.node(name="main"))
        assert (summary.arrived, summary.missing, summary.sources_down) == (17, 1, 0)
        assert sorted(str(one.QueryRetrieveLevel) for one in main.moves) == ["IMAGE", "SERIES", "STUDY"]
    assert reasons(database) == {failed: "failed-suboperation"}, "of the last source that was asked"
    assert {one[:2] for one in attempts(database)} == {("vna", "C-GET"), ("main", "C-MOVE")}
    own = (
        "select a.pacs, am.reason_code from attempt_missing am join attempt a using (attempt_id) "
        f"where am.sop_instance_uid = '{failed}' order by attempt_id"
    )
    assert [tuple(one.values()) for one in rows(database, own)] == [
        ("vna", "no-longer-held"),
        ("main", "failed-suboperation"),
    ]


def test_a_source_that_is_down_does_not_stop_the_next(
    database: Database, storing: Storing, holds: list[Dataset]
) -> None:
    expect(database, holds)
    with PretendPacs(holds, offers_get=True) as main:
        down = main.node(name="vna", port=free_port())
        summary = fetch(database, storing, down, main.node(name="main", retrieve_by="C-GET"))
        assert (summary.missing, summary.sources_down) == (0, 1)
        late = make_study()
        expect(database, late)
        with pytest.raises(PacsUnreachable):
            fetch(database, storing, down, main.node(name="main", port=free_port()))
    assert set(reasons(database).values()) == {"pacs-unreachable"}


def test_an_abort_at_the_request_for_an_association_is_noted_once_for_each_study(
    database: Database, storing: Storing, holds: list[Dataset]
) -> None:
    import socket

    expect(database, holds)
    slammer = socket.create_server(("127.0.0.1", 0))

    def slam() -> None:
        try:
            while True:
                slammer.accept()[0].close()
        except OSError:
            return

    thread = threading.Thread(target=slam, daemon=True)
    thread.start()
    node = PacsNode("pretend", "127.0.0.1", slammer.getsockname()[1], "PRETEND", "SLUICE_TEST", "SLUICE", timeout_s=5)
    with pytest.raises(PacsAborted):
        fetch(database, storing, node)
    slammer.close()
    assert len(attempts(database)) == 3


def test_a_planned_attempt_is_replaced_and_taken_back(database: Database) -> None:
    remember_window(database, WINDOW)
    early, late = (datetime(2026, 10, 27, hour, tzinfo=UTC) for hour in (1, 2))
    plan_attempt(database, KEY, "vna", ["1.1", "1.2"], early)
    plan_attempt(database, KEY, "main", ["1.2"], late)
    found = rows(database, "select study_instance_uid, pacs, due_at from planned_attempt order by 1")
    assert [tuple(one.values()) for one in found] == [("1.1", "vna", early), ("1.2", "main", late)]
    unplan_attempt(database, KEY, ["1.1", "1.3"])
    assert len(rows(database, "select from planned_attempt")) == 1


def test_a_node_shows_no_secret_and_refuses_what_makes_no_sense() -> None:
    made = {"name": "vna", "host": "h", "port": 104, "ae_title": "A", "calling_ae_title": "B", "move_destination": "C"}
    secret = Credentials("login", "geheim", "token-of-ours")
    node = PacsNode(**made, dicomweb_url="https://vna.example/dicom-web", credentials=secret)
    assert node.ways == ("C-MOVE", "C-GET", "DICOMweb")
    shown = repr(node) + str(node) + repr(secret)
    assert "geheim" not in shown
    assert "token-of-ours" not in shown
    for wrong in (
        {"retrieve_by": "carrier pigeon"},
        {"retrieve_by": "DICOMweb"},
        {"query_by": "QIDO-RS"},
        {"dicomweb_url": "ftp://vna"},
        {"dicomweb_url": "https://me:secret@vna.example"},
    ):
        with pytest.raises(ValueError, match="'vna'") as caught:
            PacsNode(**made | wrong)
        assert "secret" not in str(caught.value)
