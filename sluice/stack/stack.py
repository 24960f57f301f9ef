"""The whole embedded stack: Postgres, S3, the simulated hospital's PACS, our receiver, Airflow."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from sluice.database import Database, migrate
from sluice.database_roles import separate
from sluice.objects import ObjectStore
from sluice.stack.airflow import EmbeddedAirflow
from sluice.stack.home import HomeLock, Leftovers, Ports, check_space
from sluice.stack.postgres import EmbeddedPostgres
from sluice.stack.processes import StackError, listens, start, stop, wait_until
from sluice.stack.s3 import EmbeddedS3

BUCKET = "sluice-releases"
RECEIVER_AE_TITLE = "SLUICE"
PACS_AE_TITLE = "HOSPITAL_PACS"


class Part(Protocol):
    """Something that the stack starts and stops."""

    def stop(self) -> None:
        """Stop it; harmless when it does not run."""


@dataclass
class Service:
    """One of our own long-running commands, `python -m sluice <command>`, in a process of its own."""

    name: str
    command: list[str]
    port: int
    log: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0

    def start(self) -> None:
        """Start it; `wait` tells when it listens."""
        self.process = start(
            [sys.executable, "-m", "sluice", *self.command], self.log, dict(os.environ) | self.environment
        )

    def wait(self) -> None:
        """Return when it listens on its port."""
        assert self.process is not None
        wait_until(lambda: listens(self.port), f"The {self.name}", 60, self.process, self.log)

    def stop(self) -> None:
        """Stop it."""
        if self.process is not None:
            stop(self.process)
            self.process = None


class Stack:
    """Everything that one home folder needs to run, started in order and stopped in reverse.

    Args:
        home: folder of all its data; one stack at a time runs in it.
        hospital: folder of the simulated hospital whose PACS is started, or None for none.
        airflow_port: fixed port of Airflow's UI; a free one when None.
        with_airflow: False starts the servers only.
        dags_paused: whether new DAGs wait for a person to switch them on.
        say: told of each step.
    """

    def __init__(
        self,
        home: Path,
        hospital: Path | None = None,
        airflow_port: int | None = None,
        with_airflow: bool = True,
        dags_paused: bool = True,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.home = home.resolve()
        self.hospital = hospital
        self.with_airflow = with_airflow
        self.dags_paused = dags_paused
        self.say = say
        self.lock = HomeLock(self.home)
        self.leftovers = Leftovers(self.home)
        self.ports = Ports(self.home, {"airflow": airflow_port} if airflow_port else {})
        self.postgres: EmbeddedPostgres
        self.s3: EmbeddedS3
        self.airflow: EmbeddedAirflow
        self.services: dict[str, Service] = {}
        self._running: list[Part] = []
        self.started_in_s: dict[str, float] = {}

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def database(self) -> Database:
        """Sluice's database in this stack, as tasks and pages see it."""
        return Database(self.postgres.application_url())

    @property
    def bucket(self) -> ObjectStore:
        """The bucket of releases in this stack."""
        return self.s3.bucket(BUCKET)

    def start(self) -> None:
        """Start everything; return when all of it answers.

        Raises:
            StackError: what went wrong, and what to do. `stop` still has to be called.
        """
        check_space(self.home)
        self.lock.take()
        if left := self.leftovers.end():
            self.say(f"Ended what an earlier run left: {', '.join(left)}.")
        self._timed("Postgres", self._start_postgres)
        self._timed("S3", self._start_s3)
        if self.hospital is not None:
            pacs, receiver = str(self.ports.of_running("pacs")), str(self.ports.of_running("receiver"))
            command = ["hospital", str(self.hospital), "--port", pacs, "--receiver-port", receiver]
            self._start_service("pacs", "hospital's PACS", command)
        self._start_service("receiver", "receiver", ["receive"])
        if self.with_airflow:
            self._timed("Airflow's database", self._prepare_airflow)
        for service in self.services.values():
            service.wait()
        if self.with_airflow:
            self._timed("Airflow", self._start_airflow)

    def stop(self) -> None:
        """Stop everything in reverse order; a Ctrl-C meanwhile is not heard."""
        ignored = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
        before = [(number, signal.getsignal(number)) for number in ignored]
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        try:
            while self._running:
                self._running.pop().stop()
            if self.lock.is_ours:
                self.leftovers.forget()
        finally:
            self.lock.release()
            for number, handler in before:
                signal.signal(number, handler)

    def tend(self) -> None:
        """Start again what ended by itself; call it every few seconds.

        Raises:
            StackError: a part ended that cannot be started again, or ended too often.
        """
        for name, process in (("Postgres", self.postgres.process), ("The S3 server", self.s3.process)):
            if process is not None and process.poll() is not None:
                raise StackError(
                    f"{name} ended with code {process.returncode}. Its log is in {self.home}. Run the command again: "
                    "nothing is lost, and it goes on where this stopped."
                )
        for service in self.services.values():
            if service.process is not None and service.process.poll() is not None:
                if service.restarts >= 5:
                    raise StackError(f"The {service.name} ended {service.restarts} times. Its log: {service.log}")
                service.restarts += 1
                self.say(f"The {service.name} ended by itself; starting it again.")
                service.stop()
                service.start()
                self._note(service.name, service.process)
        if self.with_airflow:
            for component in self.airflow.tend():
                self.say(f"Airflow's {component} ended by itself; started it again.")
                self._note(component, self.airflow.components[component].process)

    def environment(self) -> dict[str, str]:
        """What our services, the bootstrap and the DAGs are told."""
        return {
            "SLUICE_HOME": str(self.home),
            "SLUICE_DATABASE_URL": self.postgres.application_url(),
            "SLUICE_S3_ENDPOINT": self.s3.endpoint_url,
            "SLUICE_S3_ACCESS_KEY": self.s3.access_key,
            "SLUICE_S3_SECRET_KEY": self.s3.secret_key,
            "SLUICE_S3_BUCKET": BUCKET,
            "SLUICE_PACS_HOST": "127.0.0.1",
            "SLUICE_PACS_PORT": str(self.ports.of_running("pacs")),
            "SLUICE_PACS_AE_TITLE": PACS_AE_TITLE,
            "SLUICE_PACS_CALLING_AE_TITLE": RECEIVER_AE_TITLE,
            "SLUICE_PACS_MOVE_DESTINATION": RECEIVER_AE_TITLE,
            # the simulated PACS recovers at once, so nobody has to wait for it
            "SLUICE_RETRIEVE_PAUSE_S": "1",
            # the simulated hospital has one day, asked for by a backfill, and no nights
            "SLUICE_FIRST_NIGHT": "2199-01-01",
            "SLUICE_RECEIVER_AE_TITLE": RECEIVER_AE_TITLE,
            "SLUICE_RECEIVER_HOST": "127.0.0.1",
            "SLUICE_RECEIVER_PORT": str(self.ports.of_running("receiver")),
        }

    def _start_postgres(self) -> None:
        self.postgres = EmbeddedPostgres(self.home / "postgres", self.ports.of("postgres"))
        self._running.append(self.postgres)
        self.postgres.start()
        self._note("postgres", self.postgres.process)
        migrate(self.postgres.url("sluice"))
        if lacks := separate(self.postgres.url("sluice"), self.postgres.application_url()):
            raise StackError(f"Sluice's database cannot be used: {lacks}.")

    def _start_s3(self) -> None:
        self.s3 = EmbeddedS3(self.home / "s3", self.ports.of("s3"))
        self._running.append(self.s3)
        self.s3.start()
        self._note("s3", self.s3.process)
        self.s3.bucket(BUCKET)
        # the services' ports are chosen together: each is told the other's
        self.ports.of("pacs")
        self.ports.of("receiver")

    def _start_service(self, key: str, name: str, command: list[str]) -> None:
        log = self.home / "logs" / f"{key}.log"
        service = Service(name, command, self.ports.of_running(key), log, self.environment())
        self.services[key] = service
        self._running.append(service)
        service.start()
        self._note(key, service.process)

    def _prepare_airflow(self) -> None:
        self.airflow = EmbeddedAirflow(
            self.home / "airflow",
            self.postgres.airflow_url(),
            self.ports.of("airflow"),
            (self.ports.of("worker-logs"), self.ports.of("trigger-logs")),
            self.environment(),
            self.dags_paused,
        )
        self.airflow.prepare()

    def _start_airflow(self) -> None:
        self._running.append(self.airflow)
        self.airflow.start()
        for component in self.airflow.components.values():
            self._note(component.name, component.process)
        self.airflow.wait()

    def _note(self, name: str, process: subprocess.Popen[bytes] | None) -> None:
        if process is not None:
            self.leftovers.note(name, process.pid)

    def _timed(self, what: str, step: Callable[[], None]) -> None:
        began = time.monotonic()
        step()
        took = time.monotonic() - began
        self.started_in_s[what] = took
        self.say(f"{what} ready ({took:.1f} s)")
