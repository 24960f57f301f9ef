"""What every task has in common: owner, retries, time limits, pools, and when trying again makes sense."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk import Param, RetryAction, RetryDecision, RetryPolicy

from sluice.settings import settings

OWNER = "research-data"
PACS = "pacs_main"  # connection, and the pool of the same name
DATABASE = "sluice_db"
BUCKET = "sluice_s3"
GPU_POOL = "gpu"
GPU_QUEUE = settings().gpu_queue  # None: any worker reads, on its CPU where it has no GPU
HOSPITAL_TIME_ZONE = settings().time_zone
_night = settings().first_night
FIRST_NIGHT = datetime.combine(_night, time(), ZoneInfo(HOSPITAL_TIME_ZONE)) if _night else None

WINDOW = "{{ dag_run.partition_key or params.window_key or '' }}"
"""Template of the window a run works on: its partition, or the one a person typed in."""


def is_permanent(error: BaseException) -> bool:
    """Whether trying again cannot help, so that a person has to; errors of the domain say so themselves."""
    return bool(getattr(error, "permanent", False))


class DomainRetryPolicy(RetryPolicy):
    """Retry what may pass by itself; stop at once where only a person can help.

    Transient refusals of a PACS (busy, out of resources, unreachable, timed out) are retried with the task's own
    back-off, permanent ones fail at once.
    """

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any = None) -> RetryDecision:
        """Decide for one failure; the reason is shown in the task's log."""
        if is_permanent(exception):
            return RetryDecision(action=RetryAction.FAIL, reason="Trying again cannot help: see the message above.")
        return RetryDecision(action=RetryAction.DEFAULT)

    def serialize(self) -> dict[str, Any]:
        """The policy as the DAG's serialised form keeps it."""
        return {"__type": f"{type(self).__module__}.{type(self).__qualname__}"}


DEFAULT_ARGS: dict[str, Any] = {
    "owner": OWNER,
    "retries": 2,
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": 4,  # 30 s, 2 min, 8 min, …
    "max_retry_delay": timedelta(minutes=30),
    "retry_policy": DomainRetryPolicy(),
    "execution_timeout": timedelta(hours=2),
}
RUN_TIMEOUT = timedelta(hours=12)
GOVERNED_TIMEOUT = timedelta(days=15)  # over two weekends, and a pause over a holiday
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def window_param() -> dict[str, Param]:
    """The one field of a step's trigger form: which window to work on again."""
    return {
        "window_key": Param(
            None,
            type=["null", "string"],
            title="Window",
            pattern=r"^(\d{4}-\d{2}-\d{2}|cohort/[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+|import/[A-Za-z0-9_.-]+)$",
            description="For a run by hand: a hospital day like 2026-10-26, cohort/<project>/<name>, or import/<name>. "
            "Runs of the chain leave it empty and use their partition.",
        )
    }


def run_policy(
    params: dict[str, Param] | None = None, start_date: datetime | None = LONG_AGO, governed: bool = False
) -> dict[str, Any]:
    """What every DAG has in common, as keyword arguments of `@dag`: how its runs begin, overlap and end.

    Args:
        params: fields of the trigger form; the window to work on again by default.
        start_date: of the runs that Airflow makes by itself.
        governed: its tasks ask the PACS. The governor then says how many may at once and who is first, so runs that
            wait for it, for days where the hours or a person say so, must not keep an urgent one from beginning.
    """
    return {
        "start_date": start_date,
        "catchup": False,
        "max_active_runs": 16 if governed else 2,
        "dagrun_timeout": GOVERNED_TIMEOUT if governed else RUN_TIMEOUT,
        "default_args": DEFAULT_ARGS,
        "params": window_param() if params is None else params,
    }
