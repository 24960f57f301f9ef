"""Whatever comes in by the port: a clear status, an abort or a row in quarantine, and the service stays up.

After each attack the same is asked: a normal sender is served, nothing lies outside the archive, nothing is left in
`.incoming`, and no thread or file descriptor has leaked.
"""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import MRImageStorage
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from sluice.archive.files import Incoming
from sluice.database import Database
from sluice.pacs.receiver.commitment import PUSH_MODEL, WELL_KNOWN_INSTANCE, Commitment, Peer
from sluice.pacs.receiver.receive import Receiver
from tests.faults.hostile import (
    ABORT,
    BOTH,
    CT,
    ONE,
    P_DATA,
    RELEASE_RQ,
    SYNTAX,
    VERIFICATION,
    Hostile,
    associate_rq,
    command,
    dataset_of,
    echo_elements,
    element,
    item,
    new_uid,
    p_data,
    pdu,
    pdv,
    short,
    store_elements,
    uid,
)  # fmt: skip
from tests.faults.service import CONNECTIONS
from tests.pacs.pretend import make_instance, make_study
from tests.pacs.sending import encoded, rows, send

IDLE_S = 1.0
MOST = 20
COMMITTING = (*BOTH, (7, PUSH_MODEL, (SYNTAX,)))


def eventually(condition: Callable[[], object], what: str, limit_s: float = 15.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.02)


def echoes(port: int) -> bool:
    entity = AE("SCANNER")
    entity.add_requested_context(Verification)
    association = entity.associate("127.0.0.1", port, ae_title="SLUICE")
    if not association.is_established:
        return False
    try:
        return bool(association.send_c_echo().Status == 0)
    finally:
        association.release()


def outside(home: Path) -> set[Path]:
    """Files of `home` that are not where the archive puts them."""
    archive = home / "archive"

    def belongs(path: Path) -> bool:
        parts = path.relative_to(archive).parts
        if parts[0] in (".quarantine", ".conflicts", ".incoming"):
            return True
        return len(parts) == 3 and all(set(part) <= set("0123456789.") for part in (*parts[:2], path.stem))

    found = {path for path in home.rglob("*") if path.is_file() or path.is_symlink()}
    return {path for path in found if not (path.is_relative_to(archive) and belongs(path))}


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class Besieged:
    """A receiver under attack, and what must hold afterwards."""

    def __init__(self, receiver: Receiver, database: Database, home: Path) -> None:
        self.receiver, self.database, self.home = receiver, database, home
        self.port = receiver.port
        self.incoming = receiver.archive.root / ".incoming"
        self.assert_serves()
        eventually(lambda: "association" not in {t.name for t in threading.enumerate()}, "the warm-up's threads end")
        self._threads = threading.active_count()
        self._descriptors = descriptors()

    def assert_serves(self) -> None:
        assert echoes(self.port), "no C-ECHO any more"
        assert send(self.port, make_study(1, 2)) == [0, 0], "a normal sender is not served any more"

    def assert_unharmed(self) -> None:
        self.assert_serves()
        assert outside(self.home) == set()
        eventually(lambda: list(self.incoming.iterdir()) == [], ".incoming is empty")
        eventually(lambda: threading.active_count() <= self._threads, "the threads end")
        eventually(lambda: descriptors() <= self._descriptors + CONNECTIONS, "the descriptors are closed")
        for row in rows(self.database, "select path, sha256, reason_code from quarantine"):
            assert (self.receiver.archive.root / str(row["path"])).is_file()
            assert row["reason_code"]

    def receipts(self, sop_instance: str) -> list[dict[str, object]]:
        return rows(self.database, f"select * from receipt where sop_instance_uid = '{sop_instance}'")


@pytest.fixture
def besieged(database: Database, tmp_path: Path) -> Iterator[Besieged]:
    home = tmp_path / "home"
    home.mkdir()
    with Receiver(
        database, home / "archive", min_free_bytes=1, idle_s=IDLE_S, artim_s=IDLE_S, most_associations=MOST
    ) as receiver:
        besieged = Besieged(receiver, database, home)
        yield besieged
        besieged.assert_unharmed()


# --- objects ---------------------------------------------------------------------------------------------------


NASTY = {
    "70 characters": b"1." + b"2" * 68,
    "65 characters": b"1." + b"2" * 63,
    "path up": b"../../../../tmp/sluice-was-here",
    "path up between digits": b"1.2.3/../../../4",
    "absolute": b"/tmp/sluice-was-here",
    "backslash": b"..\\..\\4",
    "two values": b"1.2.3\\1.2.4",
    "NUL inside": b"1.2\x003",
    "dots": b"..",
    "only a dot": b".",
    "ends in a dot": b"1.2.",
    "line end": b"1.2.3\n4",
    "digits of another script": "1.2.３".encode(),
    "Arabic digits": "1.2.٣".encode(),
    "not UTF-8": b"1.2.\xff\xfe",
    "a format": b"%s%n",
    "SQL": b"1'; drop table receipt; --",
}


@pytest.mark.parametrize("value", NASTY.values(), ids=NASTY.keys())
@pytest.mark.parametrize("where", ["request", "instance", "study", "series", "class"])
def test_a_uid_that_is_none(shared: Besieged, where: str, value: bytes) -> None:
    instance = new_uid()
    fields: dict[str, Any] = {"sop_instance": value if where in ("request", "instance") else instance}
    if where in ("study", "series"):
        fields[where] = value
    if where == "class":
        fields["sop_class"] = value
    quarantined = len(rows(shared.database, "select from quarantine"))
    with Hostile(shared.port).associate() as peer:
        status = peer.store(value if where == "request" else instance, dataset_of(**fields))
        assert status in (0xA900, 0xC000)
        assert peer.store_new() == 0, "the association did not survive it"
        peer.release()
    assert shared.receipts(instance) == []
    assert len(rows(shared.database, "select from quarantine")) == quarantined + 1
    assert not Path("/tmp/sluice-was-here").exists()


def test_a_request_without_the_instance_uid(shared: Besieged) -> None:
    with Hostile(shared.port).associate() as peer:
        for claimed in (b"", None):
            assert peer.store(claimed, dataset_of(new_uid())) == 0xC000
        peer.release()


def _no_dataset(peer: Hostile) -> int | str:
    return peer.store(new_uid(), b"")


def _no_dataset_announced(peer: Hostile) -> int | str:
    peer.send(p_data(1, 3, command(store_elements(CT, new_uid(), dataset=False))))
    return peer.status()


def _without_uids(peer: Hostile) -> int | str:
    return peer.store(new_uid(), element(0x00100020, b"LO", b"P1"))


def _cut_before_the_uids_end(peer: Hostile) -> int | str:
    instance = new_uid()
    return peer.store(instance, dataset_of(instance)[:90])


def _noise(peer: Hostile) -> int | str:
    return peer.store(new_uid(), bytes(range(256)) * 20)


def _length_beyond_the_end(peer: Hostile) -> int | str:
    instance = new_uid()
    head = dataset_of(instance)[:20]
    return peer.store(instance, element(0x00080005, b"UN", b"", 0xFFFFFFF0) + head)


def _deep_sequences(peer: Hostile) -> int | str:
    deep = element(0x00081140, b"SQ", b"", 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    return peer.store(new_uid(), deep * 5000)


def _class_of_another_context(peer: Hostile) -> int | str:
    instance = new_uid()
    return peer.store(instance, dataset_of(instance, sop_class=str(MRImageStorage)), sop_class=str(MRImageStorage))


def _class_of_request_only(peer: Hostile) -> int | str:
    instance = new_uid()
    return peer.store(instance, dataset_of(instance), sop_class=str(MRImageStorage))


def _another_instance(peer: Hostile) -> int | str:
    return peer.store(new_uid(), dataset_of(new_uid()))


@pytest.mark.parametrize(
    ("attack", "statuses"),
    [
        (_no_dataset, {0xC000, 0xA900}),
        (_no_dataset_announced, {0xC000, 0xA900, 0x0110}),
        (_without_uids, {0xC000}),
        (_cut_before_the_uids_end, {0xC000}),
        (_noise, {0xC000}),
        (_length_beyond_the_end, {0xC000}),
        (_deep_sequences, {0xC000}),
        (_class_of_another_context, {0xA900}),
        (_class_of_request_only, {0xA900}),
        (_another_instance, {0xA900}),
    ],
)
def test_an_object_that_cannot_be_placed(
    besieged: Besieged, attack: Callable[[Hostile], int | str], statuses: set[int]
) -> None:
    before = len(rows(besieged.database, "select from receipt"))
    with Hostile(besieged.port).associate() as peer:
        assert attack(peer) in statuses
        assert peer.store_new() == 0, "the association did not survive it"
        peer.release()
    assert len(rows(besieged.database, "select from receipt")) == before + 1
    (row,) = rows(besieged.database, "select reason_code, detail from quarantine")
    assert row["reason_code"] == "unusable-uids"
    assert row["detail"]


def test_what_is_odd_but_complete_is_kept_as_it_came(besieged: Besieged) -> None:
    """Its header is judged later; the receiver proves what came."""
    none, cut, longer = (new_uid() for _ in range(3))
    datasets = {
        none: dataset_of(none, pixels=b""),
        cut: dataset_of(cut, pixels=bytes(10), pixel_length=1000),
        longer: dataset_of(longer) + b"trailing noise",
    }
    with Hostile(besieged.port).associate() as peer:
        for instance, dataset in datasets.items():
            assert peer.store(instance, dataset) == 0
        peer.release()
    for instance, dataset in datasets.items():
        (receipt,) = besieged.receipts(instance)
        assert (besieged.receiver.archive.root / str(receipt["path"])).read_bytes().endswith(dataset)


def test_the_same_instance_by_many_at_once_is_one(besieged: Besieged) -> None:
    instance = new_uid()
    contents = [dataset_of(instance, pixels=bytes([number % 3]) * 64) for number in range(12)]
    statuses: list[int | str] = []

    def one(dataset: bytes) -> None:
        with Hostile(besieged.port).associate(ONE) as peer:
            statuses.append(peer.store(instance, dataset))
            peer.release()

    threads = [threading.Thread(target=one, args=(dataset,)) for dataset in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert statuses == [0] * 12
    assert len(besieged.receipts(instance)) == 1
    assert len(rows(besieged.database, "select from receipt_conflict")) == 2


# --- broken off ------------------------------------------------------------------------------------------------


def half_a_dataset(peer: Hostile) -> None:
    instance = new_uid()
    peer.send(p_data(1, 3, command(store_elements(CT, instance))))
    peer.send(*(p_data(1, 0, part) for part in (dataset_of(instance), bytes(16000), bytes(16000))))


@pytest.mark.parametrize("how", ["silence", "abort", "close", "reset", "release", "request", "half a PDU"])
def test_half_a_dataset(besieged: Besieged, how: str) -> None:
    before = len(rows(besieged.database, "select from receipt"))
    with Hostile(besieged.port).associate() as peer:
        half_a_dataset(peer)
        eventually(lambda: list(besieged.incoming.iterdir()), "the file is being written")
        if how == "abort":
            peer.send(pdu(ABORT, bytes(4)))
        elif how == "release":
            peer.send(pdu(RELEASE_RQ, bytes(4)))
        elif how == "request":
            peer.send(associate_rq())
        elif how == "half a PDU":
            peer.send(p_data(1, 0, bytes(5000))[:2500])
        elif how == "reset":
            peer.socket.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER of no time: close() sends RST
        if how not in ("close", "reset"):
            assert peer.ended() in ("aborted", "closed")
    eventually(lambda: list(besieged.incoming.iterdir()) == [], ".incoming is empty", IDLE_S + 5)
    assert len(rows(besieged.database, "select from receipt")) == before


def test_silence_after_the_association_ends_it(besieged: Besieged) -> None:
    started = time.monotonic()
    with Hostile(besieged.port).associate() as peer:
        assert peer.ended() in ("aborted", "closed")
    assert IDLE_S * 0.5 < time.monotonic() - started < IDLE_S + 5


def test_two_datasets_mixed_on_two_contexts(besieged: Besieged) -> None:
    first, second = new_uid(), new_uid()
    with Hostile(besieged.port).associate() as peer:
        peer.send(p_data(1, 3, command(store_elements(CT, first))), p_data(1, 0, dataset_of(first)[:60]))
        peer.send(p_data(5, 3, command(store_elements(CT, second))), p_data(5, 0, dataset_of(second)[:60]))
        peer.send(p_data(1, 2, dataset_of(first)[60:]), p_data(5, 2, dataset_of(second)[60:]))
        assert peer.ended() == "aborted"
    assert besieged.receipts(first) == besieged.receipts(second) == []


# --- PDUs ------------------------------------------------------------------------------------------------------


STORE = command(store_elements(CT, "1.2.3"))
BEFORE = {
    "nothing at all": b"",
    "HTTP": b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n",
    "TLS hello": bytes.fromhex("16030100f4010000f00303") + bytes(200),
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "P-DATA": p_data(1, 3, STORE),
    "release": pdu(RELEASE_RQ, bytes(4)),
    "abort": pdu(ABORT, bytes(4)),
    "associate accept": pdu(2, associate_rq()[6:]),
    "associate reject": pdu(3, bytes(4)),
    "unknown PDU": pdu(8, bytes(4)),
    "request of 4 GB": associate_rq(length=0xFFFFFFFF),
    "request of 1 GB": associate_rq(length=1 << 30),
    "P-DATA of 4 GB": pdu(P_DATA, b"", 0xFFFFFFFF) + bytes(100_000),
    "request shorter than its items": associate_rq(length=80),
    "request of no length": pdu(1, b""),
    "half a request": associate_rq()[:100],
    "abort of no length": pdu(ABORT, b""),
}
AFTER = {
    "a second request": associate_rq(),
    "an accept": pdu(2, associate_rq()[6:]),
    "unknown PDU": pdu(0, bytes(4)),
    "P-DATA of 4 GB": pdu(P_DATA, pdv(1, 3, STORE), 0xFFFFFFFF),
    "P-DATA longer than agreed": pdu(P_DATA, pdv(1, 3, STORE) + pdv(1, 0, bytes(300_000))),
    "P-DATA without fragments": pdu(P_DATA, b""),
    "fragment without context": pdu(P_DATA, struct.pack(">I", 0)),
    "fragment of one byte": pdu(P_DATA, struct.pack(">IB", 1, 1)),
    "fragment longer than its PDU": pdu(P_DATA, pdv(1, 3, STORE, length=5000)),
    "fragment of 4 GB": pdu(P_DATA, pdv(1, 3, STORE, length=0xFFFFFFFF)),
    "noise after the fragment": pdu(P_DATA, pdv(1, 3, STORE) + b"\xff\xff\xff"),
    "context never agreed on": p_data(99, 3, STORE),
    "even context": p_data(2, 3, STORE),
    "dataset before any command": p_data(1, 2, bytes(100)),
    "dataset on another context": p_data(1, 3, STORE) + p_data(5, 2, dataset_of("1.2.3")),
    "command within a dataset": p_data(1, 3, STORE) + p_data(1, 0, bytes(10)) + p_data(1, 3, STORE),
    "command beyond its end": p_data(1, 3, STORE[:-4]),
    "command with an absurd length": p_data(1, 3, struct.pack("<HHI", 0, 0x1000, 0xFFFFFFFF) + b"1.2"),
    "command that is a dataset": p_data(1, 3, dataset_of("1.2.3")),
    "empty command": p_data(1, 3, b""),
    "command without a field": p_data(1, 3, command({0x0110: short(1), 0x0800: short(0x0101)})),
    "command without message id": p_data(1, 3, command({0x0100: short(1), 0x0800: short(0)})),
    "endless command": b"".join(p_data(1, 1, bytes(16000)) for _ in range(80)),
    "endless empty fragments": b"".join(p_data(1, 1, b"") for _ in range(2000)) + p_data(7, 3, STORE),
}


@pytest.mark.parametrize("noise", BEFORE.values(), ids=BEFORE.keys())
def test_what_is_no_association_request(shared: Besieged, noise: bytes) -> None:
    with Hostile(shared.port) as peer:
        assert peer.send(noise).ended() in ("aborted", "closed")


def test_connecting_and_going_away(besieged: Besieged) -> None:
    for number in range(100):
        with Hostile(besieged.port) as peer:
            if number % 2:
                peer.send(associate_rq()[: number % 50])


@pytest.mark.parametrize("noise", AFTER.values(), ids=AFTER.keys())
def test_what_breaks_an_association(shared: Besieged, noise: bytes) -> None:
    with Hostile(shared.port).associate() as peer:
        assert peer.send(noise).ended() == "aborted"
    eventually(lambda: list(shared.incoming.iterdir()) == [], ".incoming is empty")


def test_a_byte_at_a_time_is_not_waited_for_for_ever(besieged: Besieged) -> None:
    started = time.monotonic()
    with Hostile(besieged.port) as peer:
        for byte in associate_rq():
            peer.send(bytes([byte]))
            time.sleep(0.05)
            if time.monotonic() - started > IDLE_S + 1:
                break
        assert peer.ended() in ("aborted", "closed")
    assert time.monotonic() - started < 3 * IDLE_S + 5


def test_a_group_length_that_lies_does_no_harm(besieged: Besieged) -> None:
    """Nothing needs it: the end of a command set is told by its fragments."""
    for said in (0, 1, 0xFFFFFFFF):
        instance = new_uid()
        with Hostile(besieged.port).associate() as peer:
            peer.send(p_data(1, 3, command(store_elements(CT, instance), said)), p_data(1, 2, dataset_of(instance)))
            assert peer.status() in (0, "aborted")


@pytest.mark.parametrize("field", [0x0020, 0x0021, 0x0010, 0x0140, 0x0150, 0x7FFF])
def test_a_service_that_we_do_not_offer(shared: Besieged, field: int) -> None:
    elements = {0x0002: uid(CT), 0x0100: short(field), 0x0110: short(7), 0x0800: short(0x0101)}
    with Hostile(shared.port).associate() as peer:
        assert peer.send(p_data(1, 3, command(elements))).status() in (0x0211, "aborted")


def test_a_store_on_the_context_of_verification(shared: Besieged) -> None:
    instance = new_uid()
    with Hostile(shared.port).associate() as peer:
        assert peer.store(instance, dataset_of(instance), context=3) in (0x0211, 0x0122, 0xA900, "aborted")
    assert shared.receipts(instance) == []


def test_responses_and_cancels_that_nobody_waits_for(shared: Besieged) -> None:
    answer = {0x0100: short(0x8001), 0x0120: short(1), 0x0800: short(0x0101), 0x0900: short(0)}
    cancel = {0x0100: short(0x0FFF), 0x0120: short(1), 0x0800: short(0x0101)}
    with Hostile(shared.port).associate() as peer:
        peer.send(p_data(1, 3, command(answer)), p_data(1, 3, command(cancel)))
        peer.send(p_data(3, 3, command(echo_elements())))
        assert peer.status() in (0, "aborted")


def action_elements(dataset: bool = True, action: bytes = short(1)) -> dict[int, bytes]:
    """An N-ACTION-RQ for storage commitment (PS3.7 10.3.4.1)."""
    return {
        0x0003: uid(PUSH_MODEL),
        0x0100: short(0x0130),
        0x0110: short(1),
        0x0800: short(1 if dataset else 0x0101),
        0x1001: uid(WELL_KNOWN_INSTANCE),
        0x1008: action,
    }


def nested(depth: int) -> bytes:
    """Sequences within sequences, none of which ends."""
    return (element(0x00081199, b"SQ", b"", 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)) * depth


PROMISES = {
    "no dataset": (None, {0x0115}),
    "an empty dataset": (b"", {0x0115}),
    "noise": (bytes(range(256)) * 10, {0x0115, 0x0110}),
    "an object": (dataset_of("1.2.3"), {0x0115}),
    "no references": (element(0x00081195, b"UI", uid("1.2.3")), {0x0115}),
    "a path as transaction": (element(0x00081195, b"UI", uid("../../etc/x")), {0x0115}),
    "5,000 nested sequences": (element(0x00081195, b"UI", uid("1.2.3")) + nested(5000), {0x0115, 0x0110}),
    "cut off": (element(0x00081195, b"UI", uid("1.2.3")) + nested(1)[:14], {0x0115, 0x0110}),
    "250,000 empty items": (
        element(0x00081195, b"UI", uid("1.2.3"))
        + element(0x00081199, b"SQ", struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 250_000),
        {0x0213},
    ),
    "130,000 elements": (element(0x00081195, b"UI", uid("1.2.3")) * 130_000, {0x0115, 0x0110}),
    "20 MB": (element(0x00081195, b"UN", bytes(20 << 20)), {0x0213}),
}


@pytest.mark.parametrize(("dataset", "statuses"), PROMISES.values(), ids=PROMISES.keys())
def test_a_promise_that_cannot_be_given(shared: Besieged, dataset: bytes | None, statuses: set[int]) -> None:
    with Hostile(shared.port).associate(COMMITTING) as peer:
        peer.send(p_data(7, 3, command(action_elements(dataset is not None))))
        for at in range(0, len(dataset or b""), 16000):
            assert dataset is not None
            peer.send(p_data(7, 2 if at + 16000 >= len(dataset) else 0, dataset[at : at + 16000]))
        if dataset == b"":
            peer.send(p_data(7, 2, b""))
        assert peer.status() in statuses
        assert peer.store_new() == 0, "the association did not survive it"
        peer.release()
    assert rows(shared.database, "select from commitment_request") == []


def test_a_promise_asked_for_on_another_context(shared: Besieged) -> None:
    with Hostile(shared.port).associate(COMMITTING) as peer:
        for elements in (action_elements(False), action_elements(False, b""), action_elements(False, short(99))):
            assert peer.send(p_data(1, 3, command(elements))).status() in (0x0211, "aborted")
            assert peer.send(p_data(7, 3, command(elements))).status() in (0x0115, 0x0123)


# --- association requests --------------------------------------------------------------------------------------


def many(count: int, first: int = 1) -> list[tuple[int, str, tuple[str, ...]]]:
    return [((first + 2 * number) % 256, CT, (SYNTAX,)) for number in range(count)]


REQUESTS = {
    "no contexts": associate_rq(()),
    "129 contexts": associate_rq(many(129)),
    "1,000 contexts": associate_rq(many(1000)),
    "ids used twice": associate_rq(((1, CT, (SYNTAX,)), (1, VERIFICATION, (SYNTAX,)))),
    "even id": associate_rq(((2, CT, (SYNTAX,)),)),
    "id 0": associate_rq(((0, CT, (SYNTAX,)),)),
    "no transfer syntaxes": associate_rq(((1, CT, ()),)),
    "no abstract syntax": associate_rq(((1, "", (SYNTAX,)),)),
    "1,000 transfer syntaxes": associate_rq(((1, CT, (SYNTAX,) * 1000),)),
    "syntaxes that are no UIDs": associate_rq(((1, "../../etc", ("\0\0", "../x", "ü" * 200)),)),
    "1 MB of user information": associate_rq(user=b"".join(item(0x50, item(0x51, bytes(60_000))) for _ in range(17))),
    "no user information": associate_rq(user=b""),
    "PDU of one byte": associate_rq(user=item(0x50, item(0x51, struct.pack(">I", 1)))),
    "PDU of no byte": associate_rq(user=item(0x50, item(0x51, struct.pack(">I", 0)))),
    "maximum length cut off": associate_rq(user=item(0x50, item(0x51, b"\0"))),
    "item longer than the request": associate_rq(user=item(0x50, b"", 60_000)),
    "role item that lies": associate_rq(user=item(0x50, item(0x54, struct.pack(">H", 60_000) + b"1.2"))),
    "role item that is empty": associate_rq(user=item(0x50, item(0x54, b""))),
    "user identity of 60 kB": associate_rq(user=item(0x50, item(0x58, b"\x02\x00" + b"\xff" * 60_000))),
    "unknown items": associate_rq(user=item(0xEE, b"what") + item(0x50, item(0xEF, b"ever"))),
    "titles of NULs": associate_rq(called=bytes(16), calling=bytes(16)),
    "titles of control characters": associate_rq(calling=b"A\r\nB\x1b[31m\xff\xfe"),
    "another application context": associate_rq(application=b"1.2.3"),
    "version 0": associate_rq(version=0),
    "version of all bits": associate_rq(version=0xFFFF),
}


@pytest.mark.parametrize("request_pdu", REQUESTS.values(), ids=REQUESTS.keys())
def test_an_odd_association_request(shared: Besieged, request_pdu: bytes) -> None:
    with Hostile(shared.port) as peer:
        heard = peer.send(request_pdu).read()
        if heard is not None:
            kind, body = heard
            assert kind in (2, 3, ABORT)
            if kind == 3:
                assert body[1] in (1, 2)
                assert body[2] in (1, 2, 3)
            if kind == 2:  # whoever is let in can work, or at least leave
                peer.release()


@pytest.mark.parametrize(
    ("request_pdu", "answer"),
    [
        (associate_rq(application=b"1.2.3"), "rejected 1/1/2"),
        (associate_rq(version=0), "rejected 1/2/2"),
        (associate_rq(many(2)[:1] * 2), "aborted"),
        (associate_rq(((2, CT, (SYNTAX,)),)), "aborted"),
        (associate_rq(length=0x40000), "aborted"),
    ],
)
def test_what_is_against_the_standard_is_answered_by_it(shared: Besieged, request_pdu: bytes, answer: str) -> None:
    with Hostile(shared.port) as peer:
        assert peer.send(request_pdu).ended() == answer


def test_128_contexts_are_within_the_standard(shared: Besieged) -> None:
    with Hostile(shared.port).associate(many(128)) as peer:
        assert peer.store_new(context=255) == 0
        peer.release()


def test_a_peer_that_takes_one_byte_a_pdu_gets_its_answer(shared: Besieged) -> None:
    with Hostile(shared.port) as peer:
        peer.send(associate_rq(BOTH, user=item(0x50, item(0x51, struct.pack(">I", 7)))))
        peer.read()
        peer.send(p_data(3, 3, command(echo_elements())))
        heard = peer.read()
        assert heard is not None
        assert len(heard[1]) <= 8


# --- no room ---------------------------------------------------------------------------------------------------


def test_more_associations_than_we_bear_are_rejected_for_now(besieged: Besieged) -> None:
    held = [Hostile(besieged.port).associate(ONE) for _ in range(MOST)]
    try:
        with Hostile(besieged.port) as peer:
            assert peer.send(associate_rq()).ended() == "rejected 2/3/2"
    finally:
        for peer in held:
            peer.socket.close()


def test_the_disk_is_full_in_the_middle(besieged: Besieged, monkeypatch: pytest.MonkeyPatch) -> None:
    written = 0
    write = Incoming.write

    def full_after_100_kb(self: Incoming, data: Any) -> None:
        nonlocal written
        written += len(data)
        if written > 100_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, data)

    with monkeypatch.context() as patch, Hostile(besieged.port).associate() as peer:
        patch.setattr(Incoming, "write", full_after_100_kb)
        for _ in range(3):
            instance = new_uid()
            assert peer.store(instance, dataset_of(instance, pixels=bytes(300_000))) == 0xA700
            assert list(besieged.incoming.iterdir()) == []
            assert besieged.receipts(instance) == []
        peer.release()


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system can only be mounted by root")
def test_a_small_disk_fills_up_and_is_emptied(database: Database, tmp_path: Path) -> None:
    home = tmp_path / "small"
    home.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", home], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        with Receiver(database, home / "archive", min_free_bytes=1, idle_s=5) as receiver:
            instances = [make_instance("1.2.3", "1.2.3.4", n, PixelData=os.urandom(500_000)) for n in range(12)]
            statuses = send(receiver.port, instances)
            kept = statuses.index(0xA700)
            assert statuses == [0] * kept + [0xA700] * (12 - kept), "neither kept nor refused with A700"
            assert kept >= 5
            assert list((home / "archive" / ".incoming").iterdir()) == []
            assert len(rows(database, "select from receipt")) == kept
            for row in rows(database, "select path from receipt limit 3"):
                (home / "archive" / str(row["path"])).unlink()
            assert send(receiver.port, instances[kept : kept + 1]) == [0], "room again, and still refused"
    finally:
        subprocess.run(["umount", "-l", home], check=False)


def test_the_threshold_holds_within_an_object_too(database: Database, tmp_path: Path) -> None:
    """An object that would eat up the reserve is refused on its way, not when the disk is full."""
    with Receiver(database, tmp_path / "archive", min_free_bytes=1) as receiver:
        intake = receiver._intake
        free = iter([1 << 40])
        intake.archive.free_bytes = lambda: next(free, 0)  # type: ignore[method-assign]
        with Hostile(receiver.port).associate(ONE) as peer:
            assert peer.store_new(bytes(100_000_000)) == 0xA700
            peer.release()
        assert list(receiver.archive.incoming.iterdir()) == []


def test_encoded_is_what_the_normal_sender_sends() -> None:
    """The datasets here are written by hand; pydicom reads them as the same."""
    from io import BytesIO

    import pydicom

    made = make_instance("1.2.3", "1.2.3.4", 1)
    assert len(encoded(made)) > 0
    read = pydicom.dcmread(BytesIO(bytes(128) + b"DICM" + _meta() + dataset_of("1.2.3")))
    assert (read.SOPInstanceUID, read.PatientID, len(read.PixelData)) == ("1.2.3", "P1", 64)


def _meta() -> bytes:
    syntax = element(0x00020010, b"UI", uid(SYNTAX))
    return element(0x00020000, b"UL", struct.pack("<I", len(syntax))) + syntax


@pytest.fixture(scope="module")
def shared(postgres: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Besieged]:
    """One receiver for the many small attacks; it has to be unharmed after all of them together."""
    from tests.conftest import temporary_database

    home = tmp_path_factory.mktemp("shared")
    with (
        temporary_database(postgres) as database,
        Receiver(
            database,
            home / "archive",
            min_free_bytes=1,
            idle_s=IDLE_S,
            artim_s=IDLE_S,
            most_associations=MOST,
            commitment=Commitment(database, {"HOSTILE": Peer("127.0.0.1", 1)}),
        ) as receiver,
    ):
        besieged = Besieged(receiver, database, home)
        yield besieged
        besieged.assert_unharmed()
