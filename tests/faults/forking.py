"""Receivers and workers that start in no time: forked from a process that has imported what they need.

A soak kills and restarts them dozens of times; importing pydicom and pynetdicom anew would take most of it.
`python -m tests.faults.forking` reads one request a line and answers each with one line.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

MODULES = ("tests.faults.receiving", "tests.faults.retrieving")


class Forked:
    """A process that the nursery started; used like a `subprocess.Popen`."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.nursery, self.pid = nursery, pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self.nursery.ask({"poll": self.pid})
        return self.returncode

    def wait(self, timeout: float = 60) -> int:
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.01)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


class Nursery:
    """Starts processes of `MODULES`, each in a session of its own; a context manager. They end with it."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.faults.forking"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.ask({"poll": 0}) is None, "it has imported everything"
        return self

    def __exit__(self, *problem: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def start(self, module: str, arguments: list[str], log: Path) -> Any:
        """Start `module.main(arguments)` with its output in `log`."""
        return Forked(self, self.ask({"module": module, "arguments": arguments, "log": str(log)}))

    def ask(self, request: dict[str, object]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def _fork(request: dict[str, Any]) -> int:
    if pid := os.fork():
        return pid
    code = 1
    try:
        os.setsid()
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for descriptor, own in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(descriptor, own)
        importlib.import_module(request["module"]).main(request["arguments"])
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        os._exit(code)


def _poll(pid: int, ended: dict[int, int]) -> int | None:
    if pid and pid not in ended:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            ended[pid] = os.waitstatus_to_exitcode(status)
    return ended.get(pid)


def main() -> None:
    """Serve requests until the end of standard input, then end what was started."""
    for module in MODULES:
        importlib.import_module(module)
    started: list[int] = []
    ended: dict[int, int] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            answer = _poll(request["poll"], ended)
        else:
            answer = _fork(request)
            started.append(answer)
        print(json.dumps(answer), flush=True)
    for pid in started:
        if _poll(pid, ended) is None:
            os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
