"""The receiver or Postgres dies in the middle: what was acknowledged is in archive and ledger, exactly once."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from sluice.database import Database, migrate
from sluice.pacs.receiver.receive import Receiver
from sluice.stack.postgres import EmbeddedPostgres
from sluice.stack.processes import free_port, start, stop, wait_until
from tests.pacs.pretend import make_study
from tests.pacs.sending import encoded, rows, sender, store_bytes

CONTEXTS = [(CTImageStorage, ExplicitVRLittleEndian)]


@contextmanager
def running_receiver(url: str, home: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    log = home / "receiver.log"
    process = start([sys.executable, "-m", "tests.faults.receiving", url, str(home), str(port)], log)
    try:
        wait_until(lambda: _listens(port), "The receiver", 90, process, log)
        yield process
    finally:
        stop(process)


def _listens(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def send_all(port: int, instances: list[Dataset], acknowledged: set[str], on_each: Callable[[int], None]) -> None:
    """Send over one association until all are sent or it breaks."""
    try:
        with sender(port, CONTEXTS) as association:
            for instance in instances:
                status = store_bytes(association, encoded(instance), CTImageStorage, instance.SOPInstanceUID)
                if status is None:
                    return
                if status == 0:
                    acknowledged.add(instance.SOPInstanceUID)
                    on_each(len(acknowledged))
    except (AssertionError, OSError, RuntimeError):
        return  # killed while we spoke to it


def assert_agreement(database: Database, archive: Path, acknowledged: set[str]) -> None:
    receipts = {str(r["sop_instance_uid"]): r for r in rows(database, "select * from receipt")}
    assert acknowledged <= receipts.keys(), "acknowledged without a receipt"
    for receipt in receipts.values():
        data = (archive / str(receipt["path"])).read_bytes()
        assert hashlib.sha256(data).hexdigest() == receipt["sha256"]
    assert len({r["path"] for r in receipts.values()}) == len(receipts)
    assert rows(database, "select from receipt_conflict") == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_killed_receiver_loses_nothing_it_acknowledged(database: Database, tmp_path: Path, seed: int) -> None:
    instances = [i for _ in range(30) for i in make_study(2, 5)]
    port = free_port()
    acknowledged: set[str] = set()
    die_at = random.Random(seed).randrange(60, 200)
    archive = tmp_path / "archive"
    with running_receiver(database.url, tmp_path, port) as process:

        def kill(count: int) -> None:
            if count >= die_at:
                os.killpg(process.pid, signal.SIGKILL)

        threads = [
            threading.Thread(target=send_all, args=(port, instances[part::2], acknowledged, kill)) for part in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert die_at <= len(acknowledged) < len(instances)
    assert_agreement(database, archive, acknowledged)
    with running_receiver(database.url, tmp_path, port):
        send_all(port, instances, acknowledged, lambda count: None)
    assert acknowledged == {i.SOPInstanceUID for i in instances}
    assert_agreement(database, archive, acknowledged)
    assert len(list(archive.glob("*/*/*.dcm"))) == len(instances)
    assert list((archive / ".incoming").iterdir()) == []


@pytest.mark.slow
def test_postgres_may_stop_in_the_middle(tmp_path: Path) -> None:
    instances = [i for _ in range(6) for i in make_study(2, 5)]
    acknowledged: set[str] = set()
    server = EmbeddedPostgres(tmp_path / "postgres", durable=False)
    with server:
        migrate(server.url("sluice"))
        database = Database(server.url("sluice"))
        with Receiver(database, tmp_path / "archive", min_free_bytes=1) as receiver:

            def interrupt(count: int) -> None:
                if count == 20:
                    server.stop()

            send_all(receiver.port, instances, acknowledged, interrupt)
            assert acknowledged == {i.SOPInstanceUID for i in instances}, "refused while Postgres was away"
            assert list((tmp_path / "spool").glob("*.jsonl"))
            server.start()
            end = time.monotonic() + 60
            while list((tmp_path / "spool").glob("*.jsonl")):
                assert time.monotonic() < end, "the spool was not replayed"
                time.sleep(0.2)
        assert_agreement(database, tmp_path / "archive", acknowledged)
        assert len(rows(database, "select from receipt")) == len(instances)


def test_a_spool_left_by_a_killed_process_is_replayed_once(database: Database, tmp_path: Path) -> None:
    gone = Database("postgresql://sluice@127.0.0.1:1/none")
    instances = make_study(1, 4)
    acknowledged: set[str] = set()
    first = Receiver(gone, tmp_path / "archive", min_free_bytes=1)
    with first:
        send_all(first.port, instances, acknowledged, lambda count: None)
    assert len(acknowledged) == 4
    (spool,) = (tmp_path / "spool").glob("*.jsonl")
    with spool.open("a") as file:
        file.write('{"table": "receipt", "values": {"sop_inst')  # a crash in the middle of a line
    (tmp_path / "spool" / "copy.jsonl").write_text(spool.read_text())
    first._writer._file.close()  # type: ignore[union-attr]
    with Receiver(database, tmp_path / "archive", min_free_bytes=1):
        end = time.monotonic() + 30
        while list((tmp_path / "spool").glob("*.jsonl")):
            assert time.monotonic() < end
            time.sleep(0.1)
    assert_agreement(database, tmp_path / "archive", acknowledged)
    assert len(rows(database, "select from receipt")) == 4
