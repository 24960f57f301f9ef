"""Hostile peers in numbers, and objects of a size, against the receiver as a site runs it: `sluice receive`."""

from __future__ import annotations

import hashlib
import os
import random
import selectors
import signal
import socket
import time
from collections import Counter
from pathlib import Path

import pytest

from sluice.database import Database
from sluice.stack.processes import free_port
from tests.faults.hostile import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    CT,
    ONE,
    P_DATA,
    Hostile,
    associate_rq,
    command,
    dataset_of,
    new_uid,
    p_data,
    pdv,
    store_elements,
)
from tests.faults.hostile import pdu as pdu_of
from tests.faults.service import CONNECTIONS, Service, service
from tests.faults.test_hostile_peers import echoes, eventually, outside
from tests.pacs.pretend import make_study
from tests.pacs.requester import Requester, asked_for
from tests.pacs.sending import rows, send

CROWD = 1000
DEADLINE_S = 60.0
MEMORY_GROWTH = 48 << 20


def is_served(running: Service) -> bool:
    """Whether a normal sender is served, C-ECHO and C-STORE."""
    try:
        return echoes(running.port) and send(running.port, make_study(1, 2)) == [0, 0]
    except (AssertionError, OSError):
        return False  # still at its limit


def crowd(port: int, number: int) -> tuple[Counter[str], list[socket.socket]]:
    """So many association requests at once: how each was answered, and the connections that were let in."""
    selector = selectors.DefaultSelector()
    answers: Counter[str] = Counter()
    held: list[socket.socket] = []
    for _ in range(number):
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex(("127.0.0.1", port))
        selector.register(connection, selectors.EVENT_WRITE)
    end = time.monotonic() + DEADLINE_S
    while selector.get_map():
        assert time.monotonic() < end, f"unanswered after {DEADLINE_S} s: {len(selector.get_map())}, {dict(answers)}"
        for key, events in selector.select(1.0):
            connection = key.fileobj  # type: ignore[assignment]
            try:
                if events & selectors.EVENT_WRITE:
                    connection.send(associate_rq(ONE))
                    selector.modify(connection, selectors.EVENT_READ)
                    continue
                said = connection.recv(4096)
            except OSError:
                said = b""
            selector.unregister(connection)
            kind = said[0] if said else 0
            answers[_words(kind, said)] += 1
            if kind == ASSOCIATE_AC:
                held.append(connection)
            else:
                connection.close()
    return answers, held


def _words(kind: int, said: bytes) -> str:
    if kind == ASSOCIATE_RJ:
        return f"rejected {said[7]}/{said[8]}/{said[9]}"
    return {ASSOCIATE_AC: "accepted", ABORT: "aborted", 0: "closed"}.get(kind, "noise")


def is_freed(running: Service, descriptors: list[int], threads: list[int]) -> bool:
    """Whether the receiver's processes hold no more than before."""
    now = running.descriptors()
    return running.threads() == threads and all(
        few <= many + CONNECTIONS for few, many in zip(now, descriptors, strict=True)
    )


def test_a_thousand_at_once(database: Database, tmp_path: Path) -> None:
    with service(
        database.url, tmp_path / "home", receiver_processes=2, receiver_max_associations=40, receiver_idle_s=30
    ) as running:
        assert is_served(running)
        before = running.descriptors(), running.threads()
        answers, held = crowd(running.port, CROWD)
        print(dict(answers))
        try:
            assert set(answers) <= {"accepted", "rejected 2/3/2", "closed"}
            assert sum(answers.values()) == CROWD
            assert 40 <= answers["accepted"] <= 80, "not as many as it bears"
            assert answers["rejected 2/3/2"] >= 100, "none was told that it is for now"
        finally:
            for connection in held:
                connection.close()
        eventually(lambda: is_served(running), "a normal sender is served", 30)
        eventually(lambda: is_freed(running, *before), "descriptors and threads are freed", 90)  # idle ones after 30
        assert running.incoming == []


def test_noise_from_all_sides(database: Database, tmp_path: Path) -> None:
    chance = random.Random(20261026)
    with service(database.url, tmp_path / "home", receiver_processes=2) as running:
        assert is_served(running)
        before = running.descriptors(), running.threads()
        alive = [process.pid for process in running.processes()]
        for _ in range(300):
            with Hostile(running.port) as peer:
                if chance.random() < 0.5:
                    peer.associate(ONE)
                    whole = p_data(1, 3, command(store_elements(CT, "1.2.3"))) + p_data(1, 2, dataset_of("1.2.3"))
                else:
                    whole = associate_rq()
                spoiled = bytearray(whole[: chance.randrange(1, len(whole))])
                for _ in range(chance.randrange(4)):
                    spoiled[chance.randrange(len(spoiled))] = chance.randrange(256)
                peer.send(bytes(spoiled))
        assert is_served(running)
        assert [process.pid for process in running.processes()] == alive, "a process died of it"
        eventually(lambda: is_freed(running, *before), "descriptors and threads are freed", 40)
        eventually(lambda: running.incoming == [], ".incoming is empty")
        assert outside(running.home) == set()


@pytest.mark.parametrize(
    "megabytes",
    [
        300,
        pytest.param(
            2100,
            marks=pytest.mark.skipif("SLUICE_SOAK" not in os.environ, reason="2 GB: only with SLUICE_SOAK=1"),
        ),
    ],
)
def test_a_large_multi_frame_image_takes_no_memory(database: Database, tmp_path: Path, megabytes: int) -> None:
    instance = new_uid()
    head = dataset_of(instance, pixels=b"", pixel_length=megabytes << 20)
    piece = random.Random(7).randbytes(131_000)
    with service(database.url, tmp_path / "home", receiver_processes=1) as running:
        assert is_served(running)
        before = running.peak_memory()
        digest = hashlib.sha256()
        started = time.monotonic()
        with Hostile(running.port, 120).associate(ONE) as peer:
            peer.send(p_data(1, 3, command(store_elements(CT, instance))), p_data(1, 0, head))
            digest.update(head)
            left = megabytes << 20
            while left:
                part = piece[: min(left, len(piece))]
                left -= len(part)
                digest.update(part)
                peer.send(pdu_of(P_DATA, pdv(1, 0 if left else 2, part)))
            assert peer.status() == 0
            peer.release()
        print(f"{megabytes} MB in {time.monotonic() - started:.1f} s, {(running.peak_memory() - before) >> 20} MB more")
        assert running.peak_memory() - before < MEMORY_GROWTH
        (receipt,) = rows(database, f"select path, bytes from receipt where sop_instance_uid = '{instance}'")
        path = running.archive / str(receipt["path"])
        assert path.stat().st_size == receipt["bytes"]
        with path.open("rb") as file:
            file.seek(path.stat().st_size - len(head) - (megabytes << 20))
            assert hashlib.file_digest(file, "sha256").digest() == digest.digest()
        assert running.incoming == []


@pytest.mark.slow
def test_a_killed_receiver_still_tells_what_it_promised(database: Database, tmp_path: Path) -> None:
    """Storage commitment was asked for and answered 0x0000; then everything of ours dies."""
    instances = make_study(1, 3)
    home, port, theirs = tmp_path / "home", free_port(), free_port()
    settings = {"receiver_processes": 2, "commitment_peers": f"MODALITY@127.0.0.1:{theirs}"}
    requester = Requester(port=theirs)
    with service(database.url, home, port, **settings) as running:
        assert send(running.port, instances) == [0] * 3
        assert requester.ask(running.port, asked_for(instances)) == 0x0000
        os.killpg(running.process.pid, signal.SIGKILL)
        running.process.wait(10)
    assert rows(database, "select status from commitment_status") == [{"status": "open"}]
    with requester, service(database.url, home, port, **settings):
        assert requester.came.wait(30), "never told"
        eventually(lambda: _is_delivered(database), "the ledger says so")
    (heard,) = requester.heard
    assert (heard.event_type, heard.committed) == (1, {i.SOPInstanceUID for i in instances})


def _is_delivered(database: Database) -> bool:
    return rows(database, "select status from commitment_status") == [{"status": "delivered"}]
