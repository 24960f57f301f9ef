"""Sweeps beside the nightly one: the last minutes, so that today's studies come today, and old days once more."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import Asset, Param, TriggerRule
from airflow.sdk.exceptions import AirflowSkipException

from operators.assets import INVENTORY
from operators.counts import Counts
from operators.policies import HOSPITAL_TIME_ZONE, PACS
from operators.steps import PacsOperator
from sluice.settings import settings

if TYPE_CHECKING:
    from datetime import date

    from sluice.database import Database

log = logging.getLogger(__name__)

TODAY = "{{ ti.xcom_pull(task_ids='sweep_recent')['window_key'] }}"
"""Template of the window that `sweep_recent` has fed."""


def recent_form() -> dict[str, Param]:
    """The one field of `sweep_recent`."""
    return {
        "minutes": Param(
            settings().recent_minutes,
            type="integer",
            minimum=1,
            maximum=1440,
            title="Minutes",
            description="How far back study times are asked for. A study's images follow its time by up to hours.",
        )
    }


def day_form() -> dict[str, Param]:
    """The fields of `sweep`: a day, or some minutes of one, and the PACS that is asked."""
    return {
        "window_key": Param(
            None,
            type=["null", "string"],
            title="Window",
            pattern=r"^\d{4}-\d{2}-\d{2}(T\d{4}-\d{4})?$",
            description="For a run by hand: a hospital day like 2026-10-26, or study times of one like "
            "2026-10-26T1015-1030. Nightly runs leave it empty and use their partition.",
        ),
        "pacs": Param(
            PACS,
            type="string",
            minLength=1,
            title="PACS",
            description="Airflow connection of the PACS to ask. sweep_again asks each PACS again for its days.",
        ),
    }


def sweep_recent() -> Any:
    """C-FIND the last minutes of the hospital's day."""
    return PacsOperator(
        task_id="sweep_recent",
        python_callable=_sweep_recent,
        op_kwargs={"minutes": "{{ params.minutes }}"},
        pool=PACS,
        doc_md="Asks the PACS for studies of the last minutes and expects what is new of them in their day's window.",
    ).output


def sweep_again() -> Any:
    """C-FIND old days once more, then start the chain for those that hold something new."""
    swept = PacsOperator(
        task_id="sweep_again",
        python_callable=_sweep_again,
        pool=PACS,
        doc_md="Sweeps the days that have reached one of the ages of `SLUICE_AUDIT_AFTER_DAYS`, each at the PACS that "
        "it was swept at, and notes what is late, changed, gone, moved or back.",
    )
    news = PythonOperator(
        task_id="start_chain",
        python_callable=_start_chain,
        outlets=[INVENTORY],
        trigger_rule=TriggerRule.ALL_DONE,
        doc_md="Leaves `inventory` for each day with something new, which starts `retrieve`. Skipped without any. "
        "Runs even when a PACS could not be asked, so that what the others told goes on.",
    )
    verdict = EmptyOperator(
        task_id="all_days",
        trigger_rule=TriggerRule.NONE_FAILED,
        doc_md="Red when a PACS could not be asked. The next night asks for its days again.",
    )
    swept >> news >> verdict
    swept >> verdict
    return news


def _sweep_recent(minutes: Any, ti: Any, dag_run: Any) -> Counts:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from operators.connections import database, pacs_node
    from operators.governed import governor_of, use_of
    from sluice.pacs.find.sweep import sweep
    from sluice.windows import Window

    store, node = database(), pacs_node()
    summaries = []
    for window in Window.of_last_minutes(datetime.now(ZoneInfo(HOSPITAL_TIME_ZONE)), int(minutes)):
        use = use_of(ti, dag_run, "sweep", window.key, f"of {window.label}")
        summaries.append(sweep(store, node, window, governor=governor_of(store, node, use)).as_dict())
    return summaries[-1]


def _sweep_again(ti: Any, dag_run: Any) -> Counts:
    """Days that are due, PACS by PACS; one that cannot be asked now does not keep the others from it.

    Raises:
        RuntimeError: what the first such PACS said, a `GovernorStop` before any other, when the others are through.
    """
    from datetime import datetime
    from itertools import groupby
    from zoneinfo import ZoneInfo

    from operators.connections import database
    from sluice.pacs.find.audit import Differences, windows_due
    from sluice.pacs.governor import GovernorStop

    store = database()
    today = datetime.now(ZoneInfo(HOSPITAL_TIME_ZONE)).date()
    due = windows_due(store, settings().audit_after_days, today, settings().audit_most)
    counts = {"windows": 0, "uncertain": 0, "queries": 0} | Differences().as_dict()
    stopped: list[RuntimeError] = []
    for pacs, days in groupby(sorted(due, key=lambda one: one.pacs), lambda one: one.pacs):
        try:
            _audit(store, pacs, [one.day for one in days], counts, ti, dag_run)
        except RuntimeError as error:  # every error of the domain is one
            log.warning("%s was not asked for all its days: %s", pacs, error)
            stopped.append(error)
    if stopped:
        raise min(stopped, key=lambda error: not isinstance(error, GovernorStop))
    return counts


def _audit(store: Database, pacs: str, days: Sequence[date], counts: Counts, ti: Any, dag_run: Any) -> None:
    """Sweep days of one PACS again, adding to `counts`."""
    from dataclasses import replace

    from operators.connections import pacs_node
    from operators.governed import governor_of, use_of
    from sluice.pacs.find.sweep import sweep
    from sluice.pacs.governor import Priority
    from sluice.windows import Window

    node = pacs_node(pacs)
    for day in days:
        window = Window.of_day(day)
        use = replace(use_of(ti, dag_run, "sweep", window.key, f"of {window.key} again"), priority=Priority.BACKFILL)
        found = sweep(store, node, window, governor=governor_of(store, node, use)).as_dict()
        counts["windows"] += 1
        for name in counts.keys() - {"windows"}:
            counts[name] += found.get(name, 0)


def _start_chain(dag_run: Any, outlet_events: Any) -> list[str]:
    """Windows with something new since the run began; what is new is asked of the ledger, so a retry loses nothing."""
    from operators.connections import database

    windows = [row["window_key"] for row in database().rows("windows_with_news", {"since": dag_run.start_date})]
    if not windows:
        raise AirflowSkipException("Nothing new in the days that were swept again.")
    inventory: Asset = INVENTORY
    outlet_events[inventory].add_partitions(windows)
    return windows
