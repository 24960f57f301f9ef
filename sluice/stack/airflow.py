"""Embedded Airflow: its four components as child processes of ours, on the embedded Postgres.

`airflow standalone` restarts nothing and leaves orphans behind, so each component is started, watched and ended
by us. What a site would write into `airflow.cfg` is set by environment here, and nowhere else.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sluice.settings import CHECKOUT
from sluice.stack.airflow_api import AirflowApi
from sluice.stack.processes import StackError, run_to_end, secret, start, stop, tail

COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
# Name to role, as `plugins.roles` has them.
USERS = {name: name for name in ("admin", "engineer", "approver", "adjudicator", "reader", "researcher", "viewer")}
PARALLELISM = 4
MAX_RESTARTS = 5  # of one component within RESTART_WINDOW_S; after that something is really wrong
RESTART_WINDOW_S = 300.0


@dataclass
class Component:
    """One Airflow component: its process, and when it was started again."""

    name: str
    process: subprocess.Popen[bytes] | None = None
    restarts: list[float] = field(default_factory=list)


class EmbeddedAirflow:
    """Airflow with LocalExecutor, bound to loopback.

    Args:
        folder: AIRFLOW_HOME: secrets, passwords and logs.
        database_url: libpq URL of the metadata database.
        port: of the API server and the UI.
        log_ports: of the worker's and the triggerer's log server.
        environment: what the DAGs and `operators.bootstrap` read (`SLUICE_…`).
        dags_paused: whether new DAGs wait for a person to switch them on.
    """

    def __init__(
        self,
        folder: Path,
        database_url: str,
        port: int,
        log_ports: tuple[int, int],
        environment: Mapping[str, str],
        dags_paused: bool = True,
    ) -> None:
        self.folder = folder.resolve()
        self.database_url = database_url
        self.port = port
        self.log_ports = log_ports
        self.environment = environment
        self.dags_paused = dags_paused
        self.components = {name: Component(name) for name in COMPONENTS}
        self.passwords: dict[str, str] = {}

    @property
    def url(self) -> str:
        """Where the UI is."""
        return f"http://127.0.0.1:{self.port}"

    def api(self, user: str = "admin") -> AirflowApi:
        """The REST API as one of `USERS`."""
        return AirflowApi(self.url, user, self.passwords[user])

    def prepare(self) -> None:
        """Write secrets and passwords; have `operators.bootstrap` migrate databases and set up connections.

        Raises:
            StackError: a step failed; the message ends with its log.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.passwords = self._keep_passwords()
        environment = self._environment()
        log = self.folder / "prepare.log"
        log.unlink(missing_ok=True)
        run_to_end([sys.executable, "-m", "operators.bootstrap"], "Setting up Airflow", log, environment)

    def start(self) -> None:
        """Start the four components; `wait` tells when they work."""
        for component in self.components.values():
            self._start(component)

    def wait(self, deadline_s: float = 180) -> None:
        """Return when every component reports health.

        Raises:
            StackError: one ended, or did not get healthy in time.
        """
        end = time.monotonic() + deadline_s
        api = AirflowApi(self.url, "", "")
        wanted = {"metadatabase", "scheduler", "triggerer", "dag_processor"}
        while True:
            healthy = {name for name, status in api.health().items() if status == "healthy"}
            if wanted <= healthy:
                return
            for component in self.components.values():
                if component.process is not None and component.process.poll() is not None:
                    raise StackError(self._ended(component))
            if time.monotonic() > end:
                missing = ", ".join(sorted(wanted - healthy))
                raise StackError(f"Airflow was not healthy after {deadline_s:.0f} s: {missing}. Logs: {self.folder}")
            time.sleep(0.5)

    def tend(self) -> list[str]:
        """Start again what ended by itself; return the names of these components.

        Raises:
            StackError: one ended too often to go on.
        """
        restarted = []
        for component in self.components.values():
            if component.process is None or component.process.poll() is None:
                continue
            now = time.monotonic()
            component.restarts = [then for then in component.restarts if now - then < RESTART_WINDOW_S]
            if len(component.restarts) >= MAX_RESTARTS:
                raise StackError(self._ended(component))
            component.restarts.append(now)
            stop(component.process)  # what it left of its session
            self._start(component)
            restarted.append(component.name)
        return restarted

    def stop(self) -> None:
        """Stop all four at once and everything that they started."""
        processes = [part.process for part in self.components.values() if part.process is not None]
        for process in processes:
            if process.poll() is None:
                process.terminate()
        end = time.monotonic() + 15
        for process in processes:
            stop(process, patience_s=max(0.1, end - time.monotonic()))
        for component in self.components.values():
            component.process = None

    def log_of(self, component: str) -> Path:
        """Log file of a component."""
        return self.folder / f"{component}.log"

    def _start(self, component: Component) -> None:
        log = self.log_of(component.name)
        component.process = start([_airflow(), component.name], log, self._environment(), CHECKOUT)

    def _ended(self, component: Component) -> str:
        log = self.log_of(component.name)
        code = component.process.returncode if component.process else None
        return f"Airflow's {component.name} ended with code {code}. Its log {log} ends:\n{tail(log)}"

    def _keep_passwords(self) -> dict[str, str]:
        """The file that SimpleAuthManager reads: generated once, kept, mode 0600."""
        path = self.folder / "passwords.json"
        known: dict[str, str] = {}
        if path.exists():
            try:
                known = json.loads(path.read_text())
            except ValueError:
                known = {}  # cut off by a full disk or a crash
        passwords = {user: known.get(user) or secrets.token_urlsafe(9) for user in USERS}
        if passwords != known:
            temporary = path.with_suffix(".new")
            temporary.touch(mode=0o600)
            temporary.write_text(json.dumps(passwords))
            temporary.rename(path)
        return passwords

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        worker_port, trigger_port = self.log_ports
        options: dict[str, str | int | float | bool] = {
            "CORE__LOAD_EXAMPLES": False,
            "CORE__DAGS_FOLDER": str(CHECKOUT / "dags"),
            "CORE__DAGS_ARE_PAUSED_AT_CREATION": self.dags_paused,
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__PARALLELISM": PARALLELISM,
            "CORE__FERNET_KEY": self._fernet_key(),
            "CORE__AUTH_MANAGER": "plugins.roles.SluiceAuthManager",
            "CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in USERS.items()),
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.folder / "passwords.json"),
            "CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "CORE__TEST_CONNECTION": "Enabled",
            "DATABASE__SQL_ALCHEMY_CONN": self.database_url.replace("postgresql://", "postgresql+psycopg2://", 1),
            "API__HOST": "127.0.0.1",
            "API__PORT": self.port,
            "API__BASE_URL": self.url,
            "API__SECRET_KEY": secret(self.folder / "keys" / "api", 32),
            "API_AUTH__JWT_SECRET": secret(self.folder / "keys" / "jwt", 64),
            # a task that outlives its token is killed by the API server: give it a day
            "EXECUTION_API__JWT_EXPIRATION_TIME": 86_400,
            "LOGGING__BASE_LOG_FOLDER": str(self.folder / "logs"),
            "LOGGING__WORKER_LOG_SERVER_PORT": worker_port,
            "LOGGING__TRIGGER_LOG_SERVER_PORT": trigger_port,
            # with the defaults a finished task holds its slot for up to five seconds more
            "WORKERS__MIN_HEARTBEAT_INTERVAL": 1,
            "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": 0.2,
            "DAG_PROCESSOR__REFRESH_INTERVAL": 15,
            # each parse of a file is a fork and a second of CPU; nobody edits DAGs every half minute
            "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": 120,
            "USAGE_DATA_COLLECTION__ENABLED": False,
        }
        return (
            inherited
            | {"AIRFLOW_HOME": str(self.folder), "PYTHONUNBUFFERED": "1"}
            | {f"AIRFLOW__{name}": str(value) for name, value in options.items()}
            | dict(self.environment)
        )

    def _fernet_key(self) -> str:
        key = bytes.fromhex(secret(self.folder / "keys" / "fernet", 32))
        return base64.urlsafe_b64encode(key).decode()


def _airflow() -> Path:
    program = Path(sys.executable).with_name("airflow")
    if not program.is_file():
        raise StackError("Airflow is missing. Run: make install")
    return program
