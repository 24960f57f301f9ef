"""Several processes behind one port: evenly used, replaced when they die, gone when their parent is."""

from __future__ import annotations

import os
import re
import signal
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from sluice.database import Database
from sluice.stack.processes import free_port
from tests.faults import hostile
from tests.faults.hostile import Hostile
from tests.faults.service import Service, service
from tests.pacs.pretend import make_study
from tests.pacs.sending import rows, send
from tests.pacs.test_served import associates, eventually


def associations(running: Service) -> list[int]:
    """Connections that each serving process holds on the port."""
    return [
        sum(c.laddr.port == running.port and c.status == psutil.CONN_ESTABLISHED for c in child.net_connections("tcp4"))
        for child in running.processes()[1:]
    ]


def test_associations_spread_evenly_and_killed_children_are_replaced(database: Database, tmp_path: Path) -> None:
    with service(database.url, tmp_path / "home", receiver_processes=3) as running:
        eventually(lambda: len(running.processes()) == 4, "all processes start")
        with ExitStack() as peers:
            for _ in range(9):
                peers.enter_context(Hostile(running.port)).associate()
            assert associations(running) == [3, 3, 3]
        eventually(lambda: associations(running) == [0, 0, 0], "the associations end")
        with ExitStack() as peers:
            held = [peers.enter_context(Hostile(running.port)).associate() for _ in range(6)]
            doomed = running.processes()[1]
            doomed.send_signal(signal.SIGKILL)
            eventually(
                lambda: len(running.processes()) == 4 and doomed.pid not in {p.pid for p in running.processes()},
                "a process takes its place",
            )
            survivors = 0
            for peer in held:
                survivors += peer.store_new() == 0
            assert survivors == 4, "the others' associations were touched"
            for _ in range(2):
                peers.enter_context(Hostile(running.port)).associate()
            assert sorted(associations(running)) == [2, 2, 2], "the new process is not used"
        assert send(running.port, make_study(1, 3)) == [0] * 3
    assert len(rows(database, "select from receipt")) == 7
    assert "A process of the receiver died" in running.log.read_text()


def test_sigterm_ends_all_and_says_what_came(database: Database, tmp_path: Path) -> None:
    with service(database.url, tmp_path / "home", receiver_processes=2) as running:
        assert send(running.port, make_study(1, 3)) == [0] * 3
        everybody = running.processes()
        with Hostile(running.port).associate() as open_one:
            running.process.send_signal(signal.SIGTERM)
            assert open_one.ended() == "aborted"
            assert running.process.wait(20) == 0
        assert not any(process.is_running() for process in everybody[1:])
    assert re.search(r"Stopped: .*3 received", running.log.read_text())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_child_outlives_its_parent(database: Database, tmp_path: Path, how: signal.Signals) -> None:
    port = free_port()
    with service(database.url, tmp_path / "home", port, receiver_processes=2) as running:
        eventually(lambda: len(running.processes()) == 3, "both processes start")
        children = running.processes()[1:]
        with Hostile(port).associate() as held:
            os.kill(running.process.pid, how)
            assert held.ended() in ("aborted", "closed")
        running.process.wait(20)
        eventually(lambda: not any(child.is_running() for child in children), "the children end")
    with service(database.url, tmp_path / "home", port, receiver_processes=1) as again:
        assert associates(again.port)


def test_two_services_on_one_archive_leave_each_others_files_alone(database: Database, tmp_path: Path) -> None:
    with service(database.url, tmp_path / "home", receiver_processes=1) as first:
        uid = hostile.new_uid()
        dataset = hostile.dataset_of(uid, pixels=bytes(40_000))
        with Hostile(first.port).associate() as peer:
            peer.send(hostile.p_data(1, 3, hostile.command(hostile.store_elements(hostile.CT, uid))))
            peer.send(hostile.p_data(1, 0, dataset[:20_000]))
            eventually(lambda: len(first.incoming) == 1, "the object begins to come")
            (first.archive / ".incoming" / "left-by-a-dead-process").write_bytes(b"half")
            with service(database.url, tmp_path / "home", receiver_processes=1):
                assert len(first.incoming) == 1, "swept the other's file, or not the dead one's"
                assert peer.send(hostile.p_data(1, 2, dataset[20_000:])).status() == 0
