"""The warden: a process above ours that outlives us just long enough to end what we started.

A server that is killed with SIGKILL cannot stop its own children, and Airflow's components have many: workers,
supervisors, tasks in process groups of their own. The kernel gives such orphans to the nearest ancestor that
declared itself a subreaper. The warden is that ancestor: it does nothing but wait, and when the process that
works has ended, in whatever way, it ends everything that is left below itself.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from sluice.stack.processes import end_with_parent

PR_SET_CHILD_SUBREAPER = 36
GRACE_S = 6.0  # Postgres' fast shutdown and a Storage SCP's last object fit into it


def guarded(work: Callable[[], int]) -> int:
    """Run `work` in a child process under a warden; return its exit code once no descendant is left.

    SIGINT and SIGTERM sent to either process reach `work` as KeyboardInterrupt. Call it before any thread starts.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    parent = os.getpid()
    # held back until both sides have their handlers
    signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
    worker = os.fork()
    if worker == 0:
        _work(work, parent)

    def forward(number: int, _: FrameType | None) -> None:
        try:
            os.kill(worker, number)
        except ProcessLookupError:
            pass

    for number in _FORWARDED:
        signal.signal(number, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
    status = _wait_for(worker)
    _end_descendants()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _work(work: Callable[[], int], parent: int) -> NoReturn:
    """The child's whole life; it never returns into the caller's stack."""
    code = 1
    try:
        os.setpgid(0, 0)  # a Ctrl-C reaches the warden alone, which passes it on once
        for number in _FORWARDED:
            signal.signal(number, _interrupt)
        end_with_parent(parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
        code = work()
    except KeyboardInterrupt:
        code = 130
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()  # a fault of this program, not of its user
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _wait_for(worker: int) -> int:
    while True:
        try:
            pid, status = os.waitpid(-1, 0)
        except InterruptedError:
            continue
        if pid == worker:
            return status


def _end_descendants() -> None:
    """Wait for those that end by themselves (the kernel told them that we died), then SIGKILL the rest."""
    end = time.monotonic() + GRACE_S
    while _reap():
        if time.monotonic() > end:
            for pid in _descendants():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        time.sleep(0.05)


def _reap() -> bool:
    """Collect children that ended; whether any is left."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True


def _descendants() -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as stat:
                    # the name in parentheses may hold anything; the parent's id is the second field after it
                    parent = int(stat.read().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry))
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found
