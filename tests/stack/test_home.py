"""A stack's folder: its lock, its ports, what a crash left in it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from sluice.stack import home as home_module
from sluice.stack.home import HomeLock, Leftovers, Ports, check_space
from sluice.stack.processes import StackError, free_port


def test_one_stack_at_a_time_runs_in_a_folder(tmp_path: Path) -> None:
    first, second = HomeLock(tmp_path), HomeLock(tmp_path)
    first.take()
    assert second.is_held()
    assert second.holder() == os.getpid()
    with pytest.raises(StackError, match=f"process {os.getpid()}.*make down"):
        second.take()
    first.release()
    assert not second.is_held()
    second.take()
    second.release()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    code = f"""
import time
from pathlib import Path
from sluice.stack.home import HomeLock
lock = HomeLock(Path({str(tmp_path)!r}))
lock.take()
print("taken", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "taken\n"
        assert HomeLock(tmp_path).is_held()
        holder.kill()
        holder.wait()
    assert not HomeLock(tmp_path).is_held()


def test_ports_stay_the_same_unless_one_is_taken(tmp_path: Path) -> None:
    first = Ports(tmp_path, {})
    kept = {name: first.of(name) for name in ("postgres", "s3")}
    assert len(set(kept.values())) == 2
    with socket.socket() as other:
        other.bind(("127.0.0.1", kept["s3"]))
        other.listen()
        second = Ports(tmp_path, {})
        assert second.of("postgres") == kept["postgres"]
        assert second.of("s3") not in kept.values()
    assert Ports(tmp_path, {}).of_running("s3") == second.of_running("s3")


def test_a_chosen_port_that_is_taken_is_an_error_with_advice(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(StackError, match=f"Port {port} for airflow is taken.*Choose another"):
            Ports(tmp_path, {"airflow": port}).of("airflow")


def test_a_port_file_cut_off_by_a_crash_is_written_again(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "ports.json").write_text('{"s3": 12')
    assert Ports(tmp_path, {}).of("s3") > 0


def test_a_full_disk_is_refused_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(home_module.shutil, "disk_usage", lambda _: usage(10**12, 10**12, 10**8))
    with pytest.raises(StackError, match=r"Only 0\.1 GB are free.*Free some space"):
        check_space(tmp_path)


def test_what_a_crash_left_is_ended_and_a_recycled_process_id_is_left_alone(tmp_path: Path) -> None:
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    left, other = (subprocess.Popen(sleeper, start_new_session=True) for _ in range(2))
    try:
        leftovers = Leftovers(tmp_path)
        leftovers.note("receiver", left.pid)
        leftovers.note("s3", other.pid)
        noted = json.loads(leftovers.path.read_text())
        noted[1]["started"] -= 1_000  # as if another program had got this process id since
        leftovers.path.write_text(json.dumps(noted))
        assert Leftovers(tmp_path).end() == ["receiver"]
        assert left.wait(5) != 0
        assert other.poll() is None
        assert Leftovers(tmp_path).end() == []
    finally:
        for process in (left, other):
            process.kill()
            process.wait()


def test_a_free_port_is_outside_the_range_of_outgoing_connections() -> None:
    least = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert free_port() < least or least < 32_000
