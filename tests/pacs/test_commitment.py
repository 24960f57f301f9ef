"""Storage commitment: what we vouch for is here, and whoever asked is told, whatever happens between."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage

from sluice.database import Database
from sluice.pacs.receiver.commitment import (
    PUSH_MODEL,
    WELL_KNOWN_INSTANCE,
    Asked,
    Commitment,
    CommitmentError,
    Peer,
    peers_of,
)
from sluice.pacs.receiver.commitment_reports import OwnTls, Patience, Reports
from sluice.pacs.receiver.receive import Receiver
from sluice.pacs.tls import server_tls
from sluice.settings import Settings
from sluice.stack.processes import free_port
from tests.pacs.certificates import Authority
from tests.pacs.pretend import make_study
from tests.pacs.requester import Requester, asked_for, request_of
from tests.pacs.sending import rows, send

SOON = Patience(first_s=0.05, most_s=0.2, give_up_s=60, settle_s=0.0, answer_s=5)


def asked(information: Dataset | None, **changes: Any) -> Asked:
    made = Asked(PUSH_MODEL, WELL_KNOWN_INSTANCE, 1, information, "MODALITY", "SLUICE", "127.0.0.1", str(uuid.uuid4()))
    return replace(made, **changes)


def told(reports: Reports, until: Callable[[], bool], tries: int = 100) -> None:
    """Let reports be tried until something holds."""
    import time

    for _ in range(tries):
        reports.tell_due()
        if until():
            return
        time.sleep(0.05)
    raise AssertionError("never told")


@pytest.fixture
def kept(receiver: Receiver) -> list[Dataset]:
    """Instances that the receiver has acknowledged."""
    instances = make_study(1, 4)
    assert send(receiver.port, instances) == [0] * 4
    return instances


def test_what_is_here_is_vouched_for(receiver: Receiver, database: Database, kept: list[Dataset]) -> None:
    with Requester() as requester:
        commitment = Commitment(database, {"MODALITY": Peer("127.0.0.1", requester.port)})
        information = asked_for(kept)
        assert commitment.take(asked(information)) == 0x0000
        assert rows(database, "select status, tries from commitment_status") == [{"status": "open", "tries": 0}]
        reports = Reports(commitment, receiver.archive.root, SOON)
        assert reports.tell_due() == 1
        assert reports.tell_due() == 0, "told twice"
    (heard,) = requester.heard
    assert (heard.event_type, heard.calling_ae, heard.transaction) == (1, "SLUICE", information.TransactionUID)
    assert heard.committed == {i.SOPInstanceUID for i in kept}
    assert heard.failed == {}
    (status,) = rows(database, "select status, committed, detail from commitment_status")
    assert status == {"status": "delivered", "committed": 4, "detail": None}


def test_each_failure_has_its_reason(receiver: Receiver, database: Database, kept: list[Dataset]) -> None:
    good, gone, cut, other_class = kept
    paths = {
        r["sop_instance_uid"]: str(r["path"]) for r in rows(database, "select sop_instance_uid, path from receipt")
    }
    (receiver.archive.root / paths[gone.SOPInstanceUID]).unlink()
    file = receiver.archive.root / paths[cut.SOPInstanceUID]
    file.write_bytes(file.read_bytes()[:-1])
    pairs = [(i.SOPClassUID, i.SOPInstanceUID) for i in (good, gone, cut)]
    pairs += [(MRImageStorage, other_class.SOPInstanceUID), (CTImageStorage, "1.2.3.4.5")]
    with Requester() as requester:
        commitment = Commitment(database, {"MODALITY": Peer("127.0.0.1", requester.port)})
        assert commitment.take(asked(request_of(pairs))) == 0x0000
        assert Reports(commitment, receiver.archive.root, SOON).tell_due() == 1
    (heard,) = requester.heard
    assert heard.event_type == 2
    assert heard.committed == {good.SOPInstanceUID}
    assert heard.failed == {
        gone.SOPInstanceUID: 0x0112,
        cut.SOPInstanceUID: 0x0110,
        other_class.SOPInstanceUID: 0x0119,
        "1.2.3.4.5": 0x0112,
    }
    (report,) = rows(database, "select committed, failures from commitment_report")
    assert report == {"committed": 1, "failures": {"1": "0112", "2": "0110", "3": "0119", "4": "0112"}}


def test_what_is_not_here_yet_is_waited_for(receiver: Receiver, database: Database) -> None:
    instances = make_study(1, 2)
    with Requester() as requester:
        commitment = Commitment(database, {"MODALITY": Peer("127.0.0.1", requester.port)})
        reports = Reports(commitment, receiver.archive.root, replace(SOON, settle_s=60))
        commitment.take(asked(asked_for(instances)))
        assert reports.tell_due() == 0, "reported as missing while it may be in the spool"
        send(receiver.port, instances)
        assert reports.tell_due() == 1
    assert [heard.event_type for heard in requester.heard] == [1]


def test_a_requester_that_is_away_is_told_later(receiver: Receiver, database: Database, kept: list[Dataset]) -> None:
    port = free_port()
    commitment = Commitment(database, {"MODALITY": Peer("127.0.0.1", port)})
    commitment.take(asked(asked_for(kept)))
    assert Reports(commitment, receiver.archive.root, SOON).tell_due() == 1
    patient = Reports(commitment, receiver.archive.root, replace(SOON, first_s=60, most_s=60))
    assert patient.tell_due() == 0, "no pause before the second try"
    reports = Reports(commitment, receiver.archive.root, SOON)
    told(reports, lambda: reports.counts["commitment failed"] == 2)
    (status,) = rows(database, "select status, tries, detail from commitment_status")
    assert (status["status"], status["tries"]) == ("open", 3)
    assert f"Nobody answers at 127.0.0.1:{port}" in str(status["detail"])
    with Requester(port=port, status=0x0110) as requester:
        told(reports, lambda: len(requester.heard) == 1)
        assert "status 0110" in str(rows(database, "select detail from commitment_status")[0]["detail"])
        requester.status = 0
        told(reports, lambda: len(requester.heard) == 2)
    assert rows(database, "select status from commitment_status") == [{"status": "delivered"}]


def test_a_restart_loses_no_report(receiver: Receiver, database: Database, kept: list[Dataset]) -> None:
    port = free_port()
    peers = {"MODALITY": Peer("127.0.0.1", port)}
    Commitment(database, peers).take(asked(asked_for(kept)))
    again = Reports(Commitment(database, peers), receiver.archive.root, SOON, look_every_s=0.05)
    with Requester(port=port) as requester, again:
        assert requester.came.wait(10)
    assert len(requester.heard) == 1


def test_who_never_answers_is_given_up_with_a_reason(
    receiver: Receiver, database: Database, kept: list[Dataset]
) -> None:
    commitment = Commitment(database, {"MODALITY": Peer("127.0.0.1", free_port())})
    commitment.take(asked(asked_for(kept)))
    reports = Reports(commitment, receiver.archive.root, replace(SOON, give_up_s=0.3))
    told(reports, lambda: reports.counts["commitment given-up"] == 1)
    (status,) = rows(database, "select status, detail from commitment_status")
    assert status["status"] == "given-up"
    assert "Nobody answers" in str(status["detail"])
    assert reports.tell_due() == 0


def test_a_requester_without_an_address_any_more_is_said(receiver: Receiver, database: Database) -> None:
    Commitment(database, {"MODALITY": Peer("127.0.0.1", 1)}).take(asked(request_of([(CTImageStorage, "1.2.3")])))
    Reports(Commitment(database, {}), receiver.archive.root, SOON).tell_due()
    (status,) = rows(database, "select status, detail from commitment_status")
    assert (status["status"], "no address" in str(status["detail"])) == ("open", True)


def test_two_receivers_tell_once(receiver: Receiver, database: Database, kept: list[Dataset]) -> None:
    with Requester() as requester:
        commitment = Commitment(database, {"MODALITY": Peer("127.0.0.1", requester.port)})
        for instance in kept:
            commitment.take(asked(asked_for([instance])))
        first, second = (Reports(commitment, receiver.archive.root, SOON, look_every_s=0.01) for _ in range(2))
        with first, second:
            told(Reports(commitment, receiver.archive.root, SOON), lambda: len(requester.heard) >= 4)
    assert len(requester.heard) == 4
    assert len({heard.transaction for heard in requester.heard}) == 4


def test_a_repeated_request_is_one_and_a_reused_transaction_is_refused(
    receiver: Receiver, database: Database, kept: list[Dataset]
) -> None:
    with Requester() as requester:
        commitment = Commitment(database, {"MODALITY": Peer("127.0.0.1", requester.port)})
        information = asked_for(kept[:2])
        assert [commitment.take(asked(information)) for _ in range(2)] == [0, 0]
        assert len(rows(database, "select from commitment_request")) == 1
        assert commitment.take(asked(asked_for(kept[2:], information.TransactionUID))) == 0
        told(Reports(commitment, receiver.archive.root, SOON), lambda: len(requester.heard) == 2)
    assert {tuple(sorted(heard.failed.values())) for heard in requester.heard} == {(), (0x0131, 0x0131)}


def test_reports_go_by_tls_where_the_requester_listens_so(
    receiver: Receiver, database: Database, kept: list[Dataset], tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    theirs, ours = authority.issue("modality.example"), authority.issue("sluice.example")
    secure = server_tls(
        Settings(
            receiver_tls_certificate=theirs.certificate,
            receiver_tls_key=theirs.key,
            receiver_tls_ca=authority.certificate,
        )
    )
    with Requester(ssl_context=secure) as requester:
        commitment = Commitment(database, peers_of([f"MODALITY@127.0.0.1:{requester.port}+tls"]))
        commitment.take(asked(asked_for(kept)))
        own = OwnTls(str(ours.certificate), str(ours.key), str(authority.certificate))
        Reports(commitment, receiver.archive.root, SOON, own).tell_due()
    assert [heard.event_type for heard in requester.heard] == [1]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"sop_class": "1.2.840.10008.1.1"}, 0x0118),
        ({"sop_instance": "1.2.3"}, 0x0112),
        ({"action_type": 2}, 0x0123),
        ({"calling_ae": "STRANGER"}, 0x0124),
        ({"information": None}, 0x0115),
        ({"information": Dataset()}, 0x0115),
        ({"information": request_of([])}, 0x0115),
        ({"information": request_of([(CTImageStorage, "../../etc")])}, 0x0115),
        ({"information": request_of([(CTImageStorage, "1.2.3")], "no uid")}, 0x0115),
    ],
)
def test_what_cannot_be_promised_is_refused(database: Database, changes: dict[str, Any], status: int) -> None:
    commitment = Commitment(database, {"MODALITY": Peer("127.0.0.1", 1)})
    assert commitment.take(asked(**{"information": request_of([(CTImageStorage, "1.2.3")])} | changes)) == status
    assert rows(database, "select from commitment_request") == []


def test_without_the_ledger_nothing_is_promised() -> None:
    commitment = Commitment(Database("postgresql://sluice@127.0.0.1:1/none"), {"MODALITY": Peer("127.0.0.1", 1)})
    assert commitment.take(asked(request_of([(CTImageStorage, "1.2.3")]))) == 0x0213


def test_the_thread_lives_on_while_the_ledger_is_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import time

    commitment = Commitment(Database("postgresql://sluice@127.0.0.1:1/none"), {"MODALITY": Peer("127.0.0.1", 1)})
    with caplog.at_level(logging.WARNING), Reports(commitment, tmp_path, SOON, look_every_s=0.01) as reports:
        end = time.monotonic() + 5
        while not caplog.messages and time.monotonic() < end:
            time.sleep(0.01)
        assert reports._thread is not None
        assert reports._thread.is_alive()
    assert caplog.messages == ["Storage commitment waits: the ledger is away."]


def test_no_uid_gets_into_a_log(
    receiver: Receiver, database: Database, kept: list[Dataset], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), Requester() as requester:
        commitment = Commitment(database, {"MODALITY": Peer("127.0.0.1", requester.port)})
        information = asked_for(kept)
        commitment.take(asked(information))
        commitment.take(asked(information, calling_ae="STRANGER"))
        Reports(commitment, receiver.archive.root, SOON).tell_due()
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("sluice"))
    assert "4 instances" in ours
    assert information.TransactionUID not in ours
    assert not any(i.SOPInstanceUID in ours for i in kept)


def test_it_is_offered_only_where_it_can_be_told(receiver: Receiver, database: Database, tmp_path: Path) -> None:
    information = request_of([(CTImageStorage, "1.2.3")])
    with pytest.raises(AssertionError, match="not offered"):
        Requester().ask(receiver.port, information)
    commitment = Commitment(database, {"OTHER": Peer("127.0.0.1", 1)})
    with Receiver(database, tmp_path / "archive", min_free_bytes=1, commitment=commitment) as offering:
        assert Requester().ask(offering.port, information) == 0x0124
        assert Requester("OTHER").ask(offering.port, information, action=2) == 0x0123
        assert Requester("OTHER").ask(offering.port, information, instance="1.2.3") == 0x0112
        assert rows(database, "select from commitment_request") == []
        assert Requester("OTHER").ask(offering.port, information) == 0x0000
    (row,) = rows(database, "select calling_ae, called_ae, peer, instances from commitment_request")
    assert row == {"calling_ae": "OTHER", "called_ae": "SLUICE", "peer": "127.0.0.1", "instances": 1}


def test_a_whole_exchange_by_the_receiver(receiver: Receiver, database: Database, tmp_path: Path) -> None:
    """As a modality does it: send, ask on the way out, be told on an association that we open."""
    with Requester() as requester:
        commitment = Commitment(database, {"MODALITY": Peer("127.0.0.1", requester.port)})
        reports = Reports(commitment, tmp_path / "archive", SOON, look_every_s=0.05)
        with Receiver(
            database, tmp_path / "archive", min_free_bytes=1, commitment=commitment, reports=reports
        ) as running:
            instances = make_study(1, 3)
            assert send(running.port, instances, "MODALITY") == [0] * 3
            assert requester.ask(running.port, asked_for(instances)) == 0x0000
            assert requester.came.wait(10)
    (heard,) = requester.heard
    assert (heard.event_type, heard.committed) == (1, {i.SOPInstanceUID for i in instances})


@pytest.mark.parametrize("entry", ["MR1", "MR1@host", "MR1@host:0", "MR1@host:port", "@host:104", "MR1@:104"])
def test_a_malformed_peer_says_what_is_wrong(entry: str) -> None:
    with pytest.raises(CommitmentError, match=r"no AE@host:port"):
        peers_of([entry])
    assert peers_of(["MR 1@[fd00::7]:104", "CT@ct.example:2762+tls"]) == {
        "MR 1": Peer("fd00::7", 104),
        "CT": Peer("ct.example", 2762, True),
    }


def test_a_report_cannot_be_noted_twice(database: Database) -> None:
    commitment = Commitment(database, {"MODALITY": Peer("127.0.0.1", 1)})
    commitment.take(asked(request_of([(CTImageStorage, "1.2.3")])))
    note = "insert into commitment_report (request_id, outcome) select request_id, 'delivered' from commitment_request"
    database.execute(note)
    with pytest.raises(psycopg2.errors.UniqueViolation):
        database.execute(note)
