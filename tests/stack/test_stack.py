"""The stack: it starts, keeps what it holds, and leaves no process behind however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from sluice.hospital.build import build
from sluice.stack.processes import listens
from sluice.stack.stack import Stack

HOLD = """
import sys, time
from pathlib import Path
from sluice.stack.stack import Stack
from sluice.stack.warden import guarded

def work():
    home = Path(sys.argv[1])
    with Stack(home, Path(sys.argv[2]), with_airflow=False) as stack:
        print("ready", flush=True)
        while True:
            stack.tend()
            time.sleep(0.2)

sys.exit(guarded(work))
"""


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hospital")
    build(folder, scale="tiny")
    return folder


def gone(processes: list[psutil.Process], deadline_s: float = 25) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=deadline_s)
    return not alive


@contextmanager
def held(home: Path, hospital: Path) -> Iterator[subprocess.Popen[str]]:
    """A stack in a process of its own, ready."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home), str(hospital)], stdout=subprocess.PIPE, text=True
    ) as warden:
        assert warden.stdout is not None
        try:
            assert warden.stdout.readline() == "ready\n"
            yield warden
        finally:
            warden.kill()


def test_parts_answer_and_nothing_is_left(tmp_path: Path, hospital: Path) -> None:
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    with Stack(tmp_path, hospital, with_airflow=False) as stack:
        ports = [stack.ports.of_running(name) for name in ("pacs", "receiver")]
        assert all(listens(port) for port in ports)
        assert stack.database.execute("select 1 from reason") > 0
        stack.bucket.put("kept", b"bytes")
        family = [one for one in psutil.Process().children(recursive=True) if one.pid not in before]
        assert len(family) >= 4
    assert gone(family, 0)
    with Stack(tmp_path, hospital, with_airflow=False) as again:
        assert [again.ports.of_running(name) for name in ("pacs", "receiver")] == ports
        assert again.bucket.get("kept") == b"bytes"


def test_a_receiver_that_ends_is_started_again(tmp_path: Path, hospital: Path) -> None:
    said: list[str] = []
    with Stack(tmp_path, hospital, with_airflow=False, say=said.append) as stack:
        receiver = stack.services["receiver"]
        assert receiver.process is not None
        receiver.process.kill()
        receiver.process.wait()
        stack.tend()
        receiver.wait()
        assert listens(stack.ports.of_running("receiver"))
        assert any("receiver ended by itself" in line for line in said)


@pytest.mark.slow
@pytest.mark.parametrize(
    "end",
    [
        pytest.param(lambda warden, worker: warden.send_signal(signal.SIGINT), id="Ctrl-C"),
        pytest.param(lambda warden, worker: warden.terminate(), id="SIGTERM"),
        pytest.param(lambda warden, worker: warden.kill(), id="kill -9 of the warden"),
        pytest.param(lambda warden, worker: worker.kill(), id="kill -9 of the worker"),
    ],
)
def test_however_it_ends_nothing_is_left_and_the_next_start_works(
    tmp_path: Path, hospital: Path, end: Callable[[subprocess.Popen[str], psutil.Process], None]
) -> None:
    with held(tmp_path, hospital) as warden:
        family = psutil.Process(warden.pid).children(recursive=True)
        (worker,) = psutil.Process(warden.pid).children()
        assert len(family) >= 5
        end(warden, worker)
        warden.wait(30)
        assert gone(family)
    with Stack(tmp_path, hospital, with_airflow=False) as stack:
        assert stack.database.execute("select 1 from reason") > 0


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.3, 1.0, 2.0, 4.0])
def test_ctrl_c_while_it_starts_leaves_nothing(tmp_path: Path, hospital: Path, after_s: float) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path), str(hospital)],
        stdout=subprocess.DEVNULL,
        preexec_fn=heed_ctrl_c,
    ) as warden:
        try:
            time.sleep(after_s)  # a moment of its start; whichever it is, the outcome must be the same
            family = psutil.Process(warden.pid).children(recursive=True)
            os.kill(warden.pid, signal.SIGINT)
            warden.wait(40)
        finally:
            warden.kill()
    assert gone(family)


def heed_ctrl_c() -> None:
    """A shell's background job is born deaf to SIGINT, and so is all that it starts; a terminal's is not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
