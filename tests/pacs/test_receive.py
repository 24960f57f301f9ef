"""The receiver: what is acknowledged is in the archive and the ledger, and nothing a sender does brings it down."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import JPEG2000, CTImageStorage, ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE

from sluice.database import Database
from sluice.pacs.receiver.receive import Receiver, ReceiverError
from tests.pacs.pretend import make_instance, make_study
from tests.pacs.sending import encoded, rows, send, sender, store_bytes

CT = (CTImageStorage, ExplicitVRLittleEndian)


def eventually(condition: Callable[[], bool], what: str, deadline_s: float = 20) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        time.sleep(0.05)


def files(archive: Path) -> list[Path]:
    return [path for path in archive.rglob("*") if path.is_file()]


def test_what_is_sent_is_kept_as_sent_with_a_receipt(receiver: Receiver, database: Database) -> None:
    study = make_study()
    assert send(receiver.port, study) == [0] * 6
    receipts = rows(database, "select * from receipt order by receipt_id")
    assert [r["sop_instance_uid"] for r in receipts] == [i.SOPInstanceUID for i in study]
    for receipt, instance in zip(receipts, study, strict=True):
        path = receiver.archive.root / str(receipt["path"])
        data = path.read_bytes()
        assert hashlib.sha256(data).hexdigest() == receipt["sha256"]
        assert len(data) == receipt["bytes"]
        assert data.endswith(encoded(instance)), "the dataset was changed"
        assert pydicom.dcmread(path) == instance
        assert path.relative_to(receiver.archive.root).as_posix() == (
            f"{instance.StudyInstanceUID}/{instance.SeriesInstanceUID}/{instance.SOPInstanceUID}.dcm"
        )
    assert {(r["source"], r["calling_ae"], r["called_ae"], r["peer"], r["study_date"]) for r in receipts} == {
        ("push", "SCANNER", "SLUICE", "127.0.0.1", date(2026, 10, 26))
    }
    assert len({r["association"] for r in receipts}) == 1


def test_the_same_again_is_success_and_no_second_receipt(receiver: Receiver, database: Database) -> None:
    instance = make_instance("1.2.3", "1.2.3.4", 1)
    assert send(receiver.port, [instance, instance]) == [0, 0]
    assert send(receiver.port, [instance]) == [0]
    assert len(rows(database, "select from receipt")) == 1
    assert len(files(receiver.archive.root)) == 1


def test_other_content_is_set_aside(receiver: Receiver, database: Database) -> None:
    instance = make_instance("1.2.3", "1.2.3.4", 1)
    send(receiver.port, [instance])
    instance.PixelData = bytes([1]) * 128
    assert send(receiver.port, [instance, instance]) == [0, 0]
    elsewhere = make_instance("1.2.9", "1.2.9.4", 1, SOPInstanceUID=instance.SOPInstanceUID)
    assert send(receiver.port, [elsewhere]) == [0]
    (receipt,) = rows(database, "select path, sha256 from receipt")
    conflicts = rows(database, "select path, sha256 from receipt_conflict")
    assert len(conflicts) == 2
    for kept in [receipt, *conflicts]:
        data = (receiver.archive.root / str(kept["path"])).read_bytes()
        assert hashlib.sha256(data).hexdigest() == kept["sha256"]
    assert len(files(receiver.archive.root)) == 3


def test_a_file_that_nobody_had_a_receipt_for_gives_way(receiver: Receiver, database: Database) -> None:
    instance = make_instance("1.2.3", "1.2.3.4", 1)
    orphan = receiver.archive.root / "1.2.3" / "1.2.3.4" / f"{instance.SOPInstanceUID}.dcm"
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"left by a crash before its receipt")
    assert send(receiver.port, [instance]) == [0]
    (receipt,) = rows(database, "select path, sha256 from receipt")
    assert hashlib.sha256(orphan.read_bytes()).hexdigest() == receipt["sha256"]
    assert rows(database, "select from receipt_conflict") == []


def test_of_several_that_displace_it_at_once_one_is_kept_and_receipted(receiver: Receiver, database: Database) -> None:
    first = make_instance("1.2.3", "1.2.3.4", 1)
    contents = [
        make_instance("1.2.3", "1.2.3.4", 1, SOPInstanceUID=first.SOPInstanceUID, PatientComments=f"content {number}")
        for number in range(6)
    ]
    orphan = receiver.archive.root / "1.2.3" / "1.2.3.4" / f"{first.SOPInstanceUID}.dcm"
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"left by a crash before its receipt")
    statuses: list[list[int]] = []
    senders = [threading.Thread(target=lambda one=one: statuses.append(send(receiver.port, [one]))) for one in contents]
    for one in senders:
        one.start()
    for one in senders:
        one.join(30)
    assert statuses == [[0]] * 6
    (receipt,) = rows(database, "select path, sha256 from receipt")
    assert hashlib.sha256(orphan.read_bytes()).hexdigest() == receipt["sha256"]
    conflicts = rows(database, "select path, sha256 from receipt_conflict")
    assert len(conflicts) == 5
    for kept in conflicts:
        data = (receiver.archive.root / str(kept["path"])).read_bytes()
        assert hashlib.sha256(data).hexdigest() == kept["sha256"]


def test_private_classes_and_any_transfer_syntax_are_taken(receiver: Receiver, database: Database) -> None:
    offered = [
        (CTImageStorage, JPEG2000),
        ("1.2.840.113619.4.26", ExplicitVRLittleEndian),
        (MRImageStorage, "1.2.3.4.5"),
    ]
    with sender(receiver.port, offered) as association:
        assert len(association.accepted_contexts) == 3
        for abstract, _ in offered:
            instance = make_instance("1.2.3", "1.2.3.4", 1, SOPClassUID=abstract)
            assert store_bytes(association, encoded(instance), abstract, instance.SOPInstanceUID) == 0
    assert {(r["sop_class_uid"], r["transfer_syntax_uid"]) for r in rows(database, "select * from receipt")} == set(
        offered
    )


def test_the_move_sources_are_told_from_pushes(receiver: Receiver, database: Database) -> None:
    send(receiver.port, make_study(1, 1), "PRETEND")
    assert [r["source"] for r in rows(database, "select source from receipt")] == ["move"]


@pytest.mark.parametrize(
    ("sop_instance", "changes", "status"),
    [
        ("../../../etc/passwd", {}, 0xC000),
        ("1.2.3/../../4", {}, 0xC000),
        ("1." + "2" * 69, {}, 0xC000),
        (None, {"StudyInstanceUID": "../../outside"}, 0xC000),
        (None, {"SeriesInstanceUID": ".."}, 0xC000),
        (None, {"SeriesInstanceUID": "1.2\x003"}, 0xC000),
        (None, {"StudyInstanceUID": ""}, 0xC000),
        ("1.2.3.4.5", {}, 0xA900),
        (None, {"SOPClassUID": MRImageStorage}, 0xA900),
    ],
)
def test_uids_that_cannot_be_used_are_refused(
    receiver: Receiver, database: Database, tmp_path: Path, sop_instance: str | None, changes: dict[str, str],
    status: int,
) -> None:  # fmt: skip
    instance = make_instance("1.2.3", "1.2.3.4", 1)
    for keyword, value in changes.items():
        instance[keyword]._value = value if keyword != "SOPClassUID" else pydicom.uid.UID(value)
    claimed = instance.SOPInstanceUID if sop_instance is None else sop_instance
    with sender(receiver.port, [CT]) as association:
        answer = store_bytes(association, encoded(instance), CTImageStorage, claimed)
    assert rows(database, "select from receipt") == []
    outside = {path for path in files(tmp_path) if (receiver.archive.root / ".quarantine") not in path.parents}
    assert outside == set()
    assert answer == status
    (row,) = rows(database, "select * from quarantine")
    assert (receiver.archive.root / str(row["path"])).is_file()
    assert row["reason_code"] == "unusable-uids"
    assert str(claimed) not in str(row["detail"])
    assert send(receiver.port, make_study(1, 1)) == [0], "the service is not up any more"


def test_a_dataset_cut_off_after_its_uids_is_kept_and_one_before_is_quarantined(
    receiver: Receiver, database: Database
) -> None:
    instance = make_instance("1.2.3", "1.2.3.4", 1)
    data = encoded(instance)
    with sender(receiver.port, [CT]) as association:
        assert store_bytes(association, data[:-70], CTImageStorage, instance.SOPInstanceUID) == 0
        assert store_bytes(association, data[:60], CTImageStorage, "1.2.7") in (0xC000, 0xA900)
        assert store_bytes(association, b"\xff" * 999, CTImageStorage, "1.2.8") == 0xC000
    assert len(rows(database, "select from receipt")) == 1
    assert len(rows(database, "select from quarantine")) == 2


def test_no_space_is_a700_before_a_byte_is_written(receiver: Receiver, database: Database) -> None:
    receiver._intake.min_free_bytes = 1 << 62
    assert send(receiver.port, make_study(1, 1)) == [0xA700]
    assert files(receiver.archive.root) == []
    receiver._intake.min_free_bytes = 1
    assert send(receiver.port, make_study(1, 1)) == [0]


def test_a_full_disk_in_the_middle_is_a700(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sluice.archive.files.os.fsync", full)
    assert send(receiver.port, make_study(1, 1)) == [0xA700]
    assert files(receiver.archive.root) == []


def test_half_a_dataset_and_then_silence_or_abort_leaves_nothing(database: Database, tmp_path: Path) -> None:
    with Receiver(database, tmp_path / "archive", min_free_bytes=1, idle_s=1.0) as receiver:
        instance = make_instance("1.2.3", "1.2.3.4", 1)
        for silent in (True, False):
            with sender(receiver.port, [CT]) as association:
                _send_half(association, instance)
                if not silent:
                    association.abort()
                eventually(lambda a=association: not a.is_established, "the association ends")
        assert send(receiver.port, [instance]) == [0]
        assert len(files(receiver.archive.root)) == 1


def test_noise_on_the_port_changes_nothing(receiver: Receiver) -> None:
    for noise in (
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(64),
        b"\x01\x00\xff\xff\xff\xff",
        b"\x04\x00\x00\x00\x00\x08abc",
    ):
        with socket.create_connection(("127.0.0.1", receiver.port)) as connection:
            connection.sendall(noise)
    assert send(receiver.port, make_study(1, 1)) == [0]


def test_a_taken_port_says_what_to_do(receiver: Receiver, database: Database, tmp_path: Path) -> None:
    second = Receiver(database, tmp_path / "other", port=receiver.port)
    with pytest.raises(ReceiverError, match=f"Port {receiver.port} .* is taken.*SLUICE_RECEIVER_PORT"):
        second.start()


def test_it_answers_an_echo(receiver: Receiver) -> None:
    entity = AE()
    entity.add_requested_context("1.2.840.10008.1.1")
    association = entity.associate("127.0.0.1", receiver.port)
    assert association.send_c_echo().Status == 0
    association.release()


def _send_half(association: object, instance: object) -> None:
    from io import BytesIO

    from pynetdicom.dimse_messages import C_STORE_RQ
    from pynetdicom.dimse_primitives import C_STORE

    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CTImageStorage, instance.SOPInstanceUID  # type: ignore[attr-defined]
    request.DataSet = BytesIO(encoded(instance) + bytes(100_000))  # type: ignore[arg-type]
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    pdus = list(message.encode_msg(association.accepted_contexts[0].context_id, 4096))  # type: ignore[attr-defined]
    for pdu in pdus[: len(pdus) // 2]:
        association.dul.send_pdu(pdu)  # type: ignore[attr-defined]
