"""Drive the day through Airflow as a person would: switch the DAGs on, backfill `sweep`, watch, ask for a cohort."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from sluice.stack.airflow_api import AirflowApi
from sluice.stack.processes import StackError

DAY_DAGS = (
    "sweep",
    "retrieve",
    "extract_headers",
    "check_quality",
    "infer_body_part",
    "detect_ivc_filter",
    "scanner_utilization",
    "clock_skew",
    "export_release",
)
COHORT_DAG = "backfill_cohort"
QUIET_S = 20.0  # with a failed run and nothing else moving for so long, the chain is broken
FINISHED = {"success", "failed"}


@dataclass(frozen=True)
class Run:
    """A DAG run: its state, and when it began and ended."""

    dag_id: str
    run_id: str
    state: str
    began: datetime | None
    ended: datetime | None

    @property
    def seconds(self) -> float:
        """Wall time so far."""
        if self.began is None:
            return 0.0
        return ((self.ended or datetime.now(UTC)) - self.began).total_seconds()


def switch_on(api: AirflowApi, dag_ids: Sequence[str], deadline_s: float = 120) -> None:
    """Unpause DAGs as soon as the DAG processor knows them, the last of the chain first.

    Raises:
        StackError: a DAG file cannot be imported, or a DAG does not appear in time.
    """
    end = time.monotonic() + deadline_s
    wanted = set(dag_ids)
    while missing := wanted - {str(dag["dag_id"]) for dag in api.get("dags", limit=100, exclude_stale=True)["dags"]}:
        for error in api.get("importErrors")["import_errors"]:
            last = str(error["stack_trace"]).strip().splitlines()[-1]
            raise StackError(f"Airflow cannot import {error['filename']}: {last}")
        if time.monotonic() > end:
            raise StackError(f"Airflow does not know the DAGs {', '.join(sorted(missing))} after {deadline_s:.0f} s.")
        time.sleep(1)
    for dag_id in reversed(dag_ids):
        api.patch(f"dags/{dag_id}", {"is_paused": False})


def backfill_day(api: AirflowApi, day: date) -> None:
    """Airflow's own backfill of `sweep` for one day; a day that ran before runs again.

    Raises:
        StackError: Airflow refused, or would run another day than this.
    """
    body = {
        "dag_id": "sweep",
        "from_date": f"{day}T00:00:00",
        "to_date": f"{day}T00:00:00",
        "reprocess_behavior": "completed",
        "max_active_runs": 1,
    }
    keys = [run.get("partition_key") for run in api.post("backfills/dry_run", body)["backfills"]]
    if keys != [day.isoformat()]:
        raise StackError(f"A backfill of sweep for {day} would run the windows {keys}.")
    api.post("backfills", body)


def request_cohort(api: AirflowApi, conf: dict[str, Any]) -> str:
    """Trigger `backfill_cohort` with the params of its form; return the run's id."""
    return str(api.post(f"dags/{COHORT_DAG}/dagRuns", {"logical_date": None, "conf": conf})["dag_run_id"])


def newest_runs(api: AirflowApi, dag_ids: Sequence[str], partition_key: str | None, since: datetime) -> dict[str, Run]:
    """The newest run of each DAG that was queued after `since`, of one partition where it has partitions."""
    runs: dict[str, Run] = {}
    for dag_id in dag_ids:
        for raw in api.get(f"dags/{dag_id}/dagRuns", order_by="-id", limit=20)["dag_runs"]:
            queued = _moment(raw.get("queued_at"))
            if raw.get("partition_key") == partition_key and queued is not None and queued >= since:
                runs[dag_id] = Run(
                    dag_id,
                    str(raw["dag_run_id"]),
                    str(raw["state"]),
                    _moment(raw.get("start_date")),
                    _moment(raw.get("end_date")),
                )
                break
    return runs


def wait_for(
    look: Callable[[], dict[str, Run]],
    dag_ids: Sequence[str],
    tick: Callable[[dict[str, Run]], None],
    deadline_s: float,
) -> dict[str, Run]:
    """Wait until each DAG's run has ended, or until a failed one holds up the rest.

    Args:
        look: the newest runs now.
        tick: called with them about every two seconds.

    Raises:
        StackError: not all ended before the deadline.
    """
    end = time.monotonic() + deadline_s
    moved_at, before = time.monotonic(), ""
    while True:
        runs = look()
        tick(runs)
        states = {dag_id: run.state for dag_id, run in runs.items()}
        if all(states.get(dag_id) in FINISHED for dag_id in dag_ids):
            return runs
        if str(states) != before:
            moved_at, before = time.monotonic(), str(states)
        stands = set(states.values()) <= FINISHED and time.monotonic() - moved_at > QUIET_S
        if stands and "failed" in states.values():
            return runs
        if time.monotonic() > end:
            waiting = ", ".join(f"{dag_id} ({states.get(dag_id, 'not started')})" for dag_id in dag_ids)
            raise StackError(f"The DAGs did not end within {deadline_s:.0f} s: {waiting}.")
        time.sleep(2)


def failed_tasks(api: AirflowApi, run: Run) -> list[str]:
    """The failed tasks of a run, each with the lines of its log that say why."""
    found = []
    path = f"dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances"
    for task in api.get(path, limit=200)["task_instances"]:
        if task["state"] == "failed":
            log = api.get(
                f"{path}/{task['task_id']}/logs/{task['try_number']}", map_index=task["map_index"], full_content=True
            )
            events = [line for line in log.get("content", []) if isinstance(line, dict)]
            errors = [_cause(line) for line in events if str(line.get("level", "")).lower() in ("error", "critical")]
            mapped = f"[{task['map_index']}]" if task["map_index"] >= 0 else ""
            why = errors[-1] if errors else "see its log in the UI"
            found.append(f"{run.dag_id}.{task['task_id']}{mapped}, try {task['try_number']}: {why}")
    return found


def _cause(event: dict[str, Any]) -> str:
    details = event.get("error_detail") or []
    words = [f"{detail.get('exc_type')}: {detail.get('exc_value')}" for detail in details if isinstance(detail, dict)]
    return " / ".join(words) or str(event.get("event", ""))


def _moment(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value.replace("Z", "+00:00")) if value else None
