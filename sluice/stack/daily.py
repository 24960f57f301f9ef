"""`make up` and `make down`: the embedded stack in the background, for daily work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from sluice.hospital.truth import Truth
from sluice.settings import CHECKOUT
from sluice.stack.airflow import USERS
from sluice.stack.home import HomeLock, Ports
from sluice.stack.postgres import EmbeddedPostgres
from sluice.stack.processes import StackError, tail
from sluice.stack.stack import Stack

START_DEADLINE_S = 600.0
STOP_DEADLINE_S = 90.0


def serve(home: Path, airflow_port: int | None) -> int:
    """Run the stack in the foreground until SIGINT or SIGTERM."""
    say = _print_now
    say("Building the simulated hospital, unless it stands already …")
    build_hospital(home / "hospital")
    with Stack(home, home / "hospital", airflow_port, say=say) as stack:
        _ready_file(home).write_text(json.dumps({"url": stack.airflow.url}), encoding="utf-8")
        try:
            say(sign(stack.airflow.url, stack.airflow.passwords))
            while True:
                stack.tend()
                time.sleep(2)
        except KeyboardInterrupt:
            say("Stopping …")
            return 0
        finally:
            _ready_file(home).unlink(missing_ok=True)


def start_in_background(home: Path, airflow_port: int | None) -> None:
    """Start `serve` detached from this terminal and return when it is ready; one that runs already is named.

    Raises:
        StackError: it did not get ready; the message ends with its log.
    """
    log = home / "run" / "up.log"
    if HomeLock(home).is_held():
        print("The stack already runs.")
    else:
        log.parent.mkdir(parents=True, exist_ok=True)
        _ready_file(home).unlink(missing_ok=True)
        command = [sys.executable, "-m", "sluice", "up", "--foreground", "--home", str(home)]
        if airflow_port:
            command += ["--port", str(airflow_port)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        print(f"Starting the stack in {home} …", flush=True)
        end = time.monotonic() + START_DEADLINE_S
        try:
            while not _ready_file(home).exists():
                if process.poll() is not None:
                    raise StackError(f"The stack did not start.\n{tail(log)}")
                if time.monotonic() > end:
                    process.terminate()
                    raise StackError(f"The stack was not ready after {START_DEADLINE_S:.0f} s. Its log is {log}")
                time.sleep(0.2)
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
    ready = _ready_file(home)
    if ready.exists():
        passwords = json.loads((home / "airflow" / "passwords.json").read_text())
        print(sign(str(json.loads(ready.read_text())["url"]), passwords))


def stop_background(home: Path) -> None:
    """Stop the stack of a folder and wait until it is gone.

    Raises:
        StackError: it did not stop in time.
    """
    lock = HomeLock(home)
    if not lock.path.parent.is_dir() or not lock.is_held():
        print("No stack runs here.")
        return
    holder = lock.holder()
    if holder is not None:
        os.kill(holder, signal.SIGTERM)
    end = time.monotonic() + STOP_DEADLINE_S
    while lock.is_held():
        if time.monotonic() > end:
            raise StackError(f"The stack (process {holder}) did not stop within {STOP_DEADLINE_S:.0f} s.")
        time.sleep(0.1)
    print("Stopped.")


def running_home(homes: Sequence[Path]) -> Path:
    """The first of these stacks' folders whose stack runs.

    Raises:
        StackError: none runs.
    """
    for home in homes:
        lock = HomeLock(home)
        if lock.path.exists() and lock.is_held():
            return home.resolve()
    where = f"in {homes[0]}" if len(homes) == 1 else "here"
    raise StackError(f"No stack runs {where}. Start one with `make up`, or set SLUICE_DATABASE_URL to your database.")


def database_url(homes: Sequence[Path], as_owner: bool = False) -> str:
    """libpq URL of Sluice's database of the first of these stacks that runs, as tasks and pages use it or as its owner.

    Raises:
        StackError: none runs.
    """
    home = running_home(homes)
    postgres = EmbeddedPostgres(home / "postgres", Ports(home, {}).of_running("postgres"))
    postgres.password = (home / "postgres" / "password").read_text().strip()
    return postgres.url("sluice") if as_owner else postgres.application_url()


def build_hospital(folder: Path, seed: int | None = None, scale: str | float = "day") -> Truth:
    """The simulated hospital in `folder`, made the first time; real images where `../shared/data` is there."""
    from sluice.hospital.build import build
    from sluice.hospital.plan import DEFAULT_SEED

    shared = CHECKOUT.parent / "shared" / "data"
    return build(folder, shared if shared.is_dir() else None, DEFAULT_SEED if seed is None else seed, scale)


def sign(url: str, passwords: dict[str, str]) -> str:
    """Where to look and how to log in, as the terminal shows it."""
    width = max(map(len, USERS))
    users = [f"    {user:<{width}}  {passwords[user]:<14} role {role}" for user, role in USERS.items()]
    return "\n".join(["", f"  Airflow  {url}", *users, ""])


def _ready_file(home: Path) -> Path:
    return home / "run" / "ready.json"


def _print_now(line: str) -> None:
    print(line, flush=True)
