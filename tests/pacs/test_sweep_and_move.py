"""Over the wire: sweep, move what is missing, and a reason for what does not come."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from pynetdicom import AE

from sluice.database import Database
from sluice.pacs.echo import echo
from sluice.pacs.errors import PacsAborted, PacsRefused, PacsStatusError, PacsTimedOut, PacsUnreachable
from sluice.pacs.fetch.retrieve import missing_studies, move_missing, note_gaps
from sluice.pacs.find.sweep import sweep
from sluice.pacs.receiver.receive import Receiver
from sluice.stack.processes import free_port
from sluice.windows import Window
from tests.pacs.pretend import PretendPacs, make_instance, make_study
from tests.pacs.sending import rows, send

WINDOW = Window.of_day(date(2026, 10, 26))
KEY = WINDOW.key


@pytest.fixture
def pacs(receiver: Receiver) -> Iterator[PretendPacs]:
    """A PACS with three studies of two series of three instances, that can move to our receiver."""
    holds = [instance for number in range(3) for instance in make_study(StudyTime=f"{8 + number:02d}1500")]
    with PretendPacs(holds, {"SLUICE": ("127.0.0.1", receiver.port)}) as running:
        yield running


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluice.pacs.fetch.arrivals.PATIENCE_S", 1.0)


def reasons(database: Database) -> dict[str, str]:
    gaps = rows(
        database, f"select sop_instance_uid, reason_code from open_gap where window_key = '{KEY}' and step = 'received'"
    )
    return {str(gap["sop_instance_uid"]): str(gap["reason_code"]) for gap in gaps}


def test_a_day_is_swept_moved_and_complete(pacs: PretendPacs, database: Database, receiver: Receiver) -> None:
    summary = sweep(database, pacs.node(), WINDOW)
    assert (summary.studies, summary.series, summary.instances, summary.uncertain) == (3, 6, 18, 0)
    expected = {str(r["sop_instance_uid"]) for r in rows(database, "select sop_instance_uid from expectation")}
    assert expected == {i.SOPInstanceUID for i in pacs.holds}
    assert set(reasons(database).values()) == {"not-asked"}
    studies = missing_studies(database, KEY)
    assert len(studies) == 3
    moved = move_missing(database, pacs.node(), KEY, studies)
    assert (moved.studies, moved.requests, moved.wanted, moved.arrived, moved.missing) == (3, 2, 18, 18, 0)
    assert missing_studies(database, KEY) == []
    assert note_gaps(database, KEY, studies) == 0
    assert reasons(database) == {}
    (attempt, *_) = rows(database, "select * from attempt")
    assert (attempt["completed"], attempt["arrived"], attempt["status"], attempt["reason_code"]) == (6, 6, "0000", None)
    assert move_missing(database, pacs.node(), KEY, studies).requests == 0
    assert {r["source"] for r in rows(database, "select source from receipt")} == {"move"}


def test_a_second_sweep_adds_what_is_new_and_changes_nothing_else(pacs: PretendPacs, database: Database) -> None:
    sweep(database, pacs.node(), WINDOW)
    before = rows(database, "select * from expectation order by sop_instance_uid")
    (first,) = rows(database, "select max(last_found_at) as seen, count(*) as n from found_study")
    late = make_study(1, 1, StudyTime="235959.5")
    pacs.holds += late
    assert sweep(database, pacs.node(), WINDOW).instances == 19
    after = rows(database, "select * from expectation order by sop_instance_uid")
    assert [r for r in after if r["sop_instance_uid"] != late[0].SOPInstanceUID] == before
    (second,) = rows(database, "select min(last_found_at) as seen, count(*) as n from found_study")
    assert second["seen"] > first["seen"]  # type: ignore[operator]
    assert (first["n"], second["n"]) == (3, 4)


@pytest.mark.parametrize("status", [0x0000, 0xB001, 0xA700])
def test_a_capped_pacs_is_split_and_the_cap_is_kept(database: Database, status: int) -> None:
    holds = [i for n in range(16) for i in make_study(1, 1, StudyTime=f"{n:02d}{n:02d}00", PatientID=f"{n}")]
    with PretendPacs(holds, cap=9, cap_status=status) as pacs:
        summary = sweep(database, pacs.node(), WINDOW)
        assert (summary.studies, summary.uncertain) == (16, 0)
        first = summary.queries
        assert sweep(database, pacs.node(), WINDOW).queries < first / 2 + 60
    assert rows(database, "select from sweep_leaf where was_split")
    if status == 0:
        assert summary.cap == 9
        assert rows(database, "select value from pacs_fact where fact = 'cap'") == [{"value": 9}]


@pytest.mark.parametrize(
    "elements",
    [
        {"AccessionNumber": ""},
        {"AccessionNumber": "A*1?"},
        {"PatientID": "M[1]\\2"},
        {"StudyTime": ""},
        {"SpecificCharacterSet": "ISO_IR 144", "StudyDescription": "Рентген"},
        {"SpecificCharacterSet": "NONSENSE", "StudyDescription": "x"},
    ],
)
def test_odd_values_are_found_all_the_same(database: Database, elements: dict[str, str]) -> None:
    holds = make_study(1, 2, **elements)
    with PretendPacs(holds) as pacs:
        summary = sweep(database, pacs.node(), WINDOW)
    assert (summary.studies, summary.instances, summary.uncertain) == (1, 2, 0)
    (found,) = rows(database, "select answer from found_study")
    assert found["answer"]["0020000D"]["Value"] == [holds[0].StudyInstanceUID]  # type: ignore[index]


def test_absent_return_keys_and_duplicates_do_no_harm(database: Database) -> None:
    omit = (
        "SOPClassUID", "Modality", "NumberOfStudyRelatedInstances", "NumberOfSeriesRelatedInstances",
        "ModalitiesInStudy", "StudyTime", "AccessionNumber", "SeriesInstanceUID_",
    )  # fmt: skip
    holds = make_study(2, 2)
    with PretendPacs([*holds, *holds], omit=omit) as pacs:
        assert sweep(database, pacs.node(), WINDOW).instances == 4


def test_only_what_is_missing_is_asked_for_again(pacs: PretendPacs, database: Database, receiver: Receiver) -> None:
    sweep(database, pacs.node(), WINDOW)
    whole, partly, _ = (pacs.holds[start : start + 6] for start in (0, 6, 12))
    send(receiver.port, partly[:4])  # the first series and one of the second
    moved = move_missing(database, pacs.node(), KEY, [whole[0].StudyInstanceUID, partly[0].StudyInstanceUID])
    assert (moved.wanted, moved.arrived) == (8, 8)
    asked = sorted((m.QueryRetrieveLevel, m.StudyInstanceUID, m.get("SeriesInstanceUID")) for m in pacs.moves)
    assert asked == [
        ("IMAGE", partly[0].StudyInstanceUID, partly[4].SeriesInstanceUID),
        ("STUDY", whole[0].StudyInstanceUID, None),
    ]
    (images,) = [m for m in pacs.moves if m.QueryRetrieveLevel == "IMAGE"]
    assert set(images.SOPInstanceUID) == {partly[4].SOPInstanceUID, partly[5].SOPInstanceUID}
    third = pacs.holds[12:]
    send(receiver.port, third[:3])
    move_missing(database, pacs.node(), KEY, [third[0].StudyInstanceUID])
    assert pacs.moves[-1].QueryRetrieveLevel == "SERIES"
    assert missing_studies(database, KEY) == []


def test_each_missing_instance_gets_its_own_reason(pacs: PretendPacs, database: Database) -> None:
    sweep(database, pacs.node(), WINDOW)
    failed, lied = pacs.holds[0].SOPInstanceUID, pacs.holds[7].SOPInstanceUID
    pacs.fail, pacs.lie = {failed}, {lied}
    studies = missing_studies(database, KEY)
    moved = move_missing(database, pacs.node(), KEY, studies)
    assert (moved.arrived, moved.missing) == (16, 2)
    assert note_gaps(database, KEY, studies) == 2
    assert reasons(database) == {failed: "failed-suboperation", lied: "reported-not-arrived"}
    noted = rows(database, "select from gap")
    note_gaps(database, KEY, studies)
    assert len(rows(database, "select from gap")) == len(noted), "noted twice"
    pacs.fail, pacs.lie = set(), set()
    move_missing(database, pacs.node(), KEY, missing_studies(database, KEY))
    assert reasons(database) == {}


def test_an_abort_in_the_middle_spares_the_other_studies(pacs: PretendPacs, database: Database) -> None:
    sweep(database, pacs.node(), WINDOW)
    pacs.abort_after = 2
    studies = missing_studies(database, KEY)
    moved = move_missing(database, pacs.node(), KEY, studies)
    assert moved.aborted == moved.missing > 0
    assert moved.arrived >= 12
    note_gaps(database, KEY, studies)
    assert set(reasons(database).values()) == {"aborted"}
    assert move_missing(database, pacs.node(), KEY, studies).missing == 0


def test_a_pacs_that_hangs_in_a_move_times_out(pacs: PretendPacs, database: Database) -> None:
    sweep(database, pacs.node(), WINDOW)
    pacs.hang = threading.Event()
    (study, *_) = studies = missing_studies(database, KEY)
    moved = move_missing(database, pacs.node(timeout_s=1), KEY, [study])
    assert (moved.timed_out, moved.missing) == (6, 6)
    note_gaps(database, KEY, studies)
    assert sorted(set(reasons(database).values())) == ["not-asked", "timed-out"]


def test_an_unknown_destination_is_said_once_and_noted_for_all(pacs: PretendPacs, database: Database) -> None:
    sweep(database, pacs.node(), WINDOW)
    studies = missing_studies(database, KEY)
    with pytest.raises(PacsStatusError, match=r"does not know the move destination NOBODY.*administrator") as caught:
        move_missing(database, pacs.node(move_destination="NOBODY"), KEY, studies)
    assert caught.value.permanent
    note_gaps(database, KEY, studies)
    assert set(reasons(database).values()) == {"refused"}
    assert len(reasons(database)) == 18


def test_a_pacs_that_is_down_is_said_and_noted(pacs: PretendPacs, database: Database) -> None:
    sweep(database, pacs.node(), WINDOW)
    studies = missing_studies(database, KEY)
    with pytest.raises(PacsUnreachable, match="Nobody answers at"):
        move_missing(database, pacs.node(port=free_port()), KEY, studies)
    note_gaps(database, KEY, studies)
    assert set(reasons(database).values()) == {"pacs-unreachable"}
    assert len(rows(database, "select from attempt")) == 3


def test_every_way_not_to_connect_has_its_advice(pacs: PretendPacs) -> None:
    assert "PRETEND@127.0.0.1" in echo(pacs.node())
    with pytest.raises(PacsUnreachable, match="Check host and port"):
        echo(pacs.node(port=free_port()))
    with pytest.raises(PacsUnreachable, match=r"host 'no-such-host\.invalid'"):
        echo(pacs.node(host="no-such-host.invalid"))
    with pytest.raises(PacsRefused, match="does not know our AE title 'STRANGER'") as caught:
        echo(pacs.node(calling_ae_title="STRANGER"))
    assert caught.value.permanent
    with pytest.raises(PacsRefused, match="does not answer to the AE title 'WRONG'"):
        echo(pacs.node(ae_title="WRONG"))


def test_a_service_that_is_no_pacs_is_told_apart(pacs: PretendPacs) -> None:
    import socket

    mute = socket.create_server(("127.0.0.1", 0))
    with mute, pytest.raises(PacsTimedOut, match="did not answer the association request"):
        echo(pacs.node(port=mute.getsockname()[1], timeout_s=0.5))
    entity = AE(ae_title="PRETEND")
    entity.add_supported_context("1.2.840.10008.5.1.4.1.1.2")
    server = entity.start_server(("127.0.0.1", 0), block=False)
    try:
        with pytest.raises((PacsRefused, PacsAborted), match="not the service asked for"):
            echo(pacs.node(port=server.server_address[1]))
    finally:
        server.shutdown()


def test_two_passes_at_once_bring_everything_once(pacs: PretendPacs, database: Database, tmp_path: Path) -> None:
    sweep(database, pacs.node(), WINDOW)
    studies = missing_studies(database, KEY)
    threads = [threading.Thread(target=move_missing, args=(database, pacs.node(), KEY, studies)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert missing_studies(database, KEY) == []
    assert len(rows(database, "select from receipt")) == 18
    assert rows(database, "select from receipt_conflict") == []


def test_an_instance_without_a_uid_is_counted(database: Database) -> None:
    holds = [*make_study(1, 2), make_instance("1.2.3", "1.2.3.4", 9, SOPInstanceUID="")]
    with PretendPacs(holds) as pacs:
        summary = sweep(database, pacs.node(), WINDOW)
    assert (summary.instances, summary.unusable, summary.empty_studies) == (2, 1, 1)
