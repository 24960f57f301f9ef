"""One association: however an object is cut into PDUs, in whichever encoding, the same file comes of it."""

from __future__ import annotations

import math
import random
import select
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from sluice.archive.entries import Entry
from sluice.archive.files import Archive, file_meta
from sluice.archive.intake import Intake
from sluice.database import Database
from sluice.pacs.pdu import Wire
from sluice.pacs.receiver.receive import Receiver
from sluice.pacs.receiver.served import ServedAssociation, Terms
from tests.archive.test_identity import encoded_as
from tests.faults import hostile
from tests.faults.hostile import CT, P_DATA, SYNTAX, Hostile, command, dataset_of, new_uid, pdu, pdv, store_elements
from tests.pacs.pretend import make_instance
from tests.pacs.sending import rows

UID = "1.2.826.0.1.3680043.10.999.77"


class Script:
    """A socket that gives what it is told to, in pieces as it is told to, and keeps what is sent."""

    def __init__(self, data: bytes, pieces: list[int]) -> None:
        self.data, self.pieces, self.sent = memoryview(data), pieces, bytearray()

    def settimeout(self, limit_s: float) -> None:
        pass

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def recv_into(self, into: memoryview) -> int:
        size = min(self.pieces.pop() if self.pieces else 1 << 20, len(into), len(self.data))
        into[:size] = self.data[:size]
        self.data = self.data[size:]
        return size


class Played(Wire):
    """Reads a script, which has no connection to wait for the end of."""

    def linger(self) -> None:
        pass


class Noted:
    """Receipts in memory."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def write(self, entry: Entry) -> str:
        self.entries.append(entry)
        return "written"

    def begin(self, receipt: Entry) -> NotedReceipt:
        return NotedReceipt(self, receipt)


class NotedReceipt:
    def __init__(self, noted: Noted, receipt: Entry) -> None:
        self.noted, self.receipt = noted, receipt

    def finish(self) -> str:
        return self.noted.write(self.receipt)

    def abandon(self) -> None:
        pass


def fragmented(chance: random.Random, data: bytes, kind: int) -> list[bytes]:
    """PDVs of one command set or dataset, cut anywhere, also into empty ones."""
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(6)))
    parts = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    return [
        pdv(1, kind | (2 if last else 0), part) for part, last in zip(parts, [*[False] * len(cuts), True], strict=True)
    ]


def in_pdus(chance: random.Random, pdvs: list[bytes]) -> bytes:
    """PDVs in P-DATA-TF PDUs, one or several in each."""
    made, left = b"", list(pdvs)
    while left:
        some = chance.randrange(1, len(left) + 1)
        made += pdu(P_DATA, b"".join(left[:some]))
        left = left[some:]
    return made


@given(st.integers(0, 2**32))
@settings(max_examples=80)
def test_any_fragmentation_gives_the_same_file(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    chance = random.Random(seed)
    dataset = dataset_of(UID, pixels=chance.randbytes(2 * chance.randrange(3000)))
    pdvs = fragmented(chance, command(store_elements(CT, UID)), 1) + fragmented(chance, dataset, 0)
    stream = hostile.associate_rq() + in_pdus(chance, pdvs) + pdu(hostile.RELEASE_RQ, bytes(4))
    script = Script(stream, [chance.randrange(1, 1 + chance.choice((7, 200, 5000))) for _ in range(5000)])
    archive = Archive(tmp_path_factory.mktemp("archive"))
    archive.prepare()
    receipts = Noted()
    counts: list[str] = []
    terms = Terms(Intake(archive, receipts, 1), frozenset(), counts.append, idle_s=5)
    ServedAssociation(terms, Played(script, 5), "127.0.0.1").serve()  # type: ignore[arg-type]
    assert counts == ["received"]
    (kept,) = archive.root.glob("*/*/*.dcm")
    assert kept.read_bytes() == file_meta(CT, UID, SYNTAX) + dataset
    assert [entry.values["bytes"] for entry in receipts.entries] == [kept.stat().st_size]
    assert list(archive.incoming.iterdir()) == []
    assert bytes(script.sent).endswith(pdu(hostile.RELEASE_RP, bytes(4)))


@given(st.integers(0, 2**32))
@settings(max_examples=50)
def test_noise_after_negotiation_never_escapes(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    chance = random.Random(seed)
    stream = bytearray(hostile.associate_rq())
    begin = len(stream)
    stream += pdu(P_DATA, pdv(1, 3, command(store_elements(CT, UID)))) + pdu(P_DATA, pdv(1, 2, dataset_of(UID)))
    for _ in range(4):
        stream[chance.randrange(begin, len(stream))] = chance.randrange(256)
    archive = Archive(tmp_path_factory.mktemp("archive"))
    archive.prepare()
    terms = Terms(Intake(archive, Noted(), 1), frozenset(), lambda word: None, idle_s=5)
    ServedAssociation(terms, Played(Script(bytes(stream), []), 5), "127.0.0.1").serve()  # type: ignore[arg-type]
    assert list(archive.incoming.iterdir()) == [], "something half written was left"


@pytest.mark.parametrize(
    "syntax",
    [
        ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian,
        JPEGBaseline8Bit, "1.2.840.113619.5.2",
    ],
)  # fmt: skip
def test_every_transfer_syntax_is_kept_as_sent(receiver: Receiver, database: Database, syntax: str) -> None:
    instance = make_instance("1.2.3", "1.2.3.4", 1)
    data = encoded_as(instance, syntax)
    with Hostile(receiver.port).associate([(1, CT, (syntax,))]) as peer:
        assert peer.store(instance.SOPInstanceUID, data) == 0
        peer.release()
    (receipt,) = rows(database, "select path, transfer_syntax_uid from receipt")
    assert receipt["transfer_syntax_uid"] == syntax
    kept = (receiver.archive.root / str(receipt["path"])).read_bytes()
    assert kept == file_meta(CT, instance.SOPInstanceUID, syntax) + data


def test_an_identity_behind_megabytes_is_found(receiver: Receiver) -> None:
    for syntax in (ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian):
        instance = make_instance("1.2.3", "1.2.3.4", 1)
        instance.add_new(0x00090010, "LO", "VENDOR")
        instance.add_new(0x00091001, "OB", random.Random(1).randbytes(3 << 20))
        with Hostile(receiver.port).associate([(1, CT, (syntax,))]) as peer:
            assert peer.store(instance.SOPInstanceUID, encoded_as(instance, syntax)) == 0


def test_a_deflated_dataset_that_is_none_is_quarantined(receiver: Receiver, database: Database) -> None:
    with Hostile(receiver.port).associate([(1, CT, (DeflatedExplicitVRLittleEndian,))]) as peer:
        assert peer.store(UID, zlib.compress(b"no raw deflate stream")) == 0xC000
    assert len(rows(database, "select from quarantine")) == 1


def test_who_says_nothing_is_hung_up_on(database: Database, tmp_path: Path) -> None:
    with (
        Receiver(database, tmp_path / "archive", min_free_bytes=1, artim_s=0.3, idle_s=0.6) as receiver,
        Hostile(receiver.port) as silent,
        Hostile(receiver.port).associate() as idle,
    ):
        assert silent.ended() == "aborted"
        assert idle.ended() == "aborted"


def drip(peer: Hostile, data: bytes, size: int, pause_s: float, last: bool, first: bytes = b"") -> bool:
    """Send a dataset in fragments of `size` bytes with a pause after each, until the other side speaks or all is sent;
    whether it spoke before that."""
    peer.send(first)
    for at in range(0, len(data), size):
        peer.send(hostile.p_data(1, 2 if last and at + size >= len(data) else 0, data[at : at + size]))
        if at + size < len(data) and select.select([peer.socket], [], [], pause_s)[0]:
            return True
    return False


def test_who_sends_an_object_by_drips_loses_the_place_and_who_is_only_slow_does_not(
    database: Database, tmp_path: Path
) -> None:
    instance = new_uid()
    begin = hostile.p_data(1, 3, command(store_elements(CT, instance)))
    with Receiver(database, tmp_path / "archive", min_free_bytes=1, idle_s=1.5) as receiver:
        with Hostile(receiver.port).associate() as peer:
            assert drip(peer, bytes(4000), 10, 0.2, False, begin), "800 drips took no harm"
            assert peer.ended() == "aborted"
        with Hostile(receiver.port).associate() as peer:  # the same within a command
            for _ in range(400):
                peer.send(hostile.p_data(1, 1, b"x"))
                if select.select([peer.socket], [], [], 0.2)[0]:
                    break
            assert peer.ended() == "aborted"
        with Hostile(receiver.port).associate() as peer:
            for _ in range(2):  # between two objects it may think
                other = new_uid()
                begin = hostile.p_data(1, 3, command(store_elements(CT, other)))
                dataset = dataset_of(other, pixels=bytes(60_000))
                assert not drip(peer, dataset, 3000, 0.15, True, begin), "20 kB/s is not slow"
                assert peer.status() == 0
        eventually(lambda: not list((tmp_path / "archive" / ".incoming").glob("*")), "the halves are removed")
    assert len(rows(database, "select from receipt")) == 2


def test_a_sender_may_think_between_two_objects_and_within_one_it_has_to_come_on() -> None:
    clock = iter(range(0, 10_000_000, 200))  # each look at the clock comes 200 s after the one before
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sluice.pacs.receiver.served.time", SimpleNamespace(monotonic=lambda: float(next(clock))))
        terms = Terms(None, frozenset(), lambda word: None, idle_s=300)  # type: ignore[arg-type]
        association = ServedAssociation(terms, None, "127.0.0.1")  # type: ignore[arg-type]
        for _ in range(5):
            association._due = math.inf
            association._keep_pace(100)  # the command, then 200 s later the first of the dataset
            association._keep_pace(100)
        association._due = math.inf
        for _ in range(20):
            association._keep_pace(250_000)  # 250 kB every 200 s are enough
        for _ in range(3):
            association._keep_pace(100_000)  # 100 kB are not, in the long run
        with pytest.raises(TimeoutError):
            association._keep_pace(100_000)


def test_at_the_limit_associations_are_rejected_for_now(database: Database, tmp_path: Path) -> None:
    with Receiver(database, tmp_path / "archive", min_free_bytes=1, most_associations=2) as receiver:
        with Hostile(receiver.port).associate(), Hostile(receiver.port).associate() as second:
            with Hostile(receiver.port) as third:
                assert third.send(hostile.associate_rq()).ended() == "rejected 2/3/2"
            second.release()
            eventually(lambda: associates(receiver.port), "a place comes free")
        assert receiver.counts["association rejected"] >= 1


def test_stopping_ends_associations_and_finishes_what_is_being_settled(database: Database, tmp_path: Path) -> None:
    receiver = Receiver(database, tmp_path / "archive", min_free_bytes=1)
    receiver.start()
    settling, go = threading.Event(), threading.Event()
    settle = receiver._intake.settle

    def slowly(*arguments: object) -> tuple[int, str]:
        settling.set()
        assert go.wait(20)
        return settle(*arguments)  # type: ignore[arg-type]

    receiver._intake.settle = slowly  # type: ignore[method-assign,assignment]
    instance = new_uid()
    with Hostile(receiver.port).associate() as busy, Hostile(receiver.port).associate() as idle:
        statuses: list[int | str] = []
        sending = threading.Thread(target=lambda: statuses.append(busy.store(instance, dataset_of(instance))))
        sending.start()
        assert settling.wait(20)
        stopping = threading.Thread(target=receiver.stop)
        stopping.start()
        assert idle.ended() == "aborted"
        go.set()
        stopping.join(20)
        sending.join(20)
        assert statuses == [0]
        assert busy.ended() == "aborted"
    assert len(rows(database, "select from receipt")) == 1


def associates(port: int) -> bool:
    with Hostile(port) as peer:
        heard = peer.send(hostile.associate_rq()).read()
        return heard is not None and heard[0] == hostile.ASSOCIATE_AC


def eventually(condition: Callable[[], bool], what: str, deadline_s: float = 20) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        time.sleep(0.05)
