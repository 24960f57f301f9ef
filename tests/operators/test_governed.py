"""Tasks and the governor: who they are to it, and how they wait without a worker and without costing a retry."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from operators import governed
from operators.cohort import _order
from operators.governed import Standby, as_json, governor_of, in_turn, seconds_until, told, use_of
from operators.retrieve import MoveTrigger, RetrieveOperator, StudyPiece
from operators.steps import PacsOperator
from sluice.database import Database
from sluice.pacs.governor import (
    PacsClosed,
    PacsOccupied,
    Priority,
    RetrievalCancelled,
    RetrievalPaused,
    Use,
)
from sluice.pacs.governor.orders import order_retrieval, retrieval_state
from sluice.pacs.governor.policy import Limits, Policy, change_policy
from sluice.pacs.node import PacsNode
from sluice.windows import Window, remember_window
from tests.pacs.sending import rows

pytestmark = pytest.mark.airflow
KEY = "2026-10-26"
NODE = PacsNode("pacs_main", "127.0.0.1", 104, "PACS", "SLUICE", "SLUICE", max_associations=3)


def run(run_type: str = "manual", **more: Any) -> Any:
    return SimpleNamespace(run_type=run_type, run_after=datetime.now(UTC), **more)


def instance() -> Any:
    return SimpleNamespace(dag_id="retrieve", run_id="manual__1")


@pytest.fixture
def window(database: Database, monkeypatch: pytest.MonkeyPatch) -> str:
    """A window with one missing instance, and a connection to its database."""
    remember_window(database, Window.of_day(date.fromisoformat(KEY)))
    database.execute(
        "insert into expectation (window_key, sop_instance_uid, series_instance_uid, study_instance_uid, pacs) "
        "values (%s, '1.2.3', '1.2', '1', 'pacs_main')",
        (KEY,),
    )
    monkeypatch.setenv("AIRFLOW_CONN_SLUICE_DB", database.url.replace("postgresql://", "postgres://"))
    return KEY


@pytest.mark.parametrize(
    ("run_type", "priority"),
    [("backfill", Priority.BACKFILL), ("scheduled", Priority.ROUTINE), ("manual", Priority.ROUTINE)],
)
def test_a_run_brings_its_priority(run_type: str, priority: Priority) -> None:
    use = use_of(instance(), run(run_type), "retrieve", KEY, "studies")
    assert (use.priority, use.window, use.dag_id, use.run_id) == (priority, KEY, "retrieve", "manual__1")


def test_a_use_travels_with_a_trigger_and_the_connection_gives_the_first_policy(database: Database) -> None:
    use = Use("retrieve", "retrieve studies", Priority.BACKFILL, KEY, "retrieve", "run")
    governor = governor_of(database, NODE, as_json(use))
    assert governor is not None
    assert governor.use == use
    assert governor_of(database, NODE, None) is None
    kept = rows(database, "select pacs, policy->'full'->>'concurrency' as n from pacs_policy")
    assert kept == [{"pacs": "pacs_main", "n": "3"}]


def test_waiting_ends_in_time_to_see_a_changed_policy() -> None:
    now = datetime(2026, 10, 26, 12, tzinfo=UTC)
    assert seconds_until(None, now) == governed.REST_S
    assert seconds_until((now + timedelta(seconds=30)).isoformat(), now) == 30
    assert seconds_until((now + timedelta(hours=9)).isoformat(), now) == governed.LONGEST.total_seconds()
    assert seconds_until((now - timedelta(hours=9)).isoformat(), now) == 1


def test_while_all_slots_are_in_use_a_trigger_tries_again_and_other_stops_are_told() -> None:
    tries: list[int] = []

    def busy() -> dict[str, Any]:
        tries.append(1)
        if len(tries) < 3:
            raise PacsOccupied("all in use")
        return {"arrived": 3}

    def closed() -> dict[str, Any]:
        raise PacsClosed("closed", datetime(2026, 10, 26, 20, tzinfo=UTC))

    assert asyncio.run(in_turn(busy)) == {"arrived": 3}
    assert asyncio.run(in_turn(closed)) == {
        "stopped": "closed",
        "until": "2026-10-26T20:00:00+00:00",
        "words": "closed",
    }


def test_waiting_for_the_pacs_takes_no_thread_that_other_triggers_need() -> None:
    names: list[str] = []

    def work() -> dict[str, Any]:
        names.append(threading.current_thread().name)
        return {}

    asyncio.run(in_turn(work))
    assert names[0].startswith("pacs")


class Task(PacsOperator):
    """Asks nothing; ends as the test wants."""


def operator(error: Exception | None) -> Task:
    def ask(window: str) -> dict[str, int]:
        if error is not None:
            raise error
        return {"studies": 1}

    return Task(task_id="ask", python_callable=ask, op_kwargs={"window": KEY})


@pytest.mark.parametrize(
    ("error", "stopped"),
    [(PacsClosed("x"), "closed"), (PacsOccupied("x"), "occupied"), (RetrievalPaused("x"), "paused")],
)
def test_a_task_that_is_stopped_is_deferred_and_begins_again(error: Exception, stopped: str) -> None:
    from airflow.sdk.exceptions import TaskDeferred

    with pytest.raises(TaskDeferred) as caught:
        operator(error).execute({"ti": None})  # type: ignore[arg-type]
    assert isinstance(caught.value.trigger, Standby)
    path, arguments = caught.value.trigger.serialize()
    assert (path, arguments["stopped"], arguments["window"]) == ("operators.governed.Standby", stopped, KEY)
    assert caught.value.timeout is None, "hours and people may take days"
    assert operator(None).after_standby({"ti": None}, {"stopped": stopped}) == {"studies": 1}  # type: ignore[arg-type]


def test_a_cancelled_task_is_skipped() -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    with pytest.raises(AirflowSkipException, match="cancelled"):
        operator(RetrievalCancelled("cancelled")).execute({"ti": None})  # type: ignore[arg-type]


async def first(trigger: Any) -> dict[str, Any]:
    async for event in trigger.run():
        return dict(event.payload)
    raise AssertionError("no event")


def test_standby_fires_when_the_window_is_resumed(
    airflow: Any, database: Database, window: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(governed, "LOOK_S", 0.05)
    order_retrieval(database, window, "vera", "paused")

    async def watch() -> dict[str, Any]:
        waiting = asyncio.create_task(first(Standby("paused", None, window)))
        await asyncio.sleep(0.4)
        assert not waiting.done()
        await asyncio.to_thread(order_retrieval, database, window, "vera", "active")
        return await asyncio.wait_for(waiting, 20)

    assert asyncio.run(watch()) == {"stopped": "paused"}


def test_a_move_outside_the_hours_is_told_not_failed(
    airflow: Any, database: Database, window: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    extra = {"ae_title": "PACS"}
    monkeypatch.setenv(
        "AIRFLOW_CONN_PACS_MAIN",
        json.dumps({"conn_type": "pacs", "host": "127.0.0.1", "port": 1, "extra": extra}),
    )
    shut = Policy("Europe/Berlin", ("." * 24,) * 7, Limits(1), Limits(1))
    change_policy(database, "pacs_main", shut, "test")
    use = as_json(use_of(instance(), run(), "retrieve", window, "studies"))
    event = asyncio.run(first(MoveTrigger(StudyPiece(window, 0, 1).as_dict(), 2, {"arrived": 1}, use=use)))
    assert (event["stopped"], event["number"], event["before"]) == ("closed", 2, {"arrived": 1})
    assert rows(database, "select from attempt") == [], "nobody was asked"


def test_a_stopped_pass_goes_on_as_the_same_pass(airflow: Any, database: Database, window: str) -> None:
    from airflow.sdk.exceptions import TaskDeferred

    task = RetrieveOperator(task_id="move", piece=StudyPiece(window, 0, 1).as_dict())
    event = {"number": 2, "before": {"wanted": 5}, **told(RetrievalPaused("paused"))}
    with pytest.raises(TaskDeferred) as caught:
        task.look_again({}, event)  # type: ignore[arg-type]
    assert isinstance(caught.value.trigger, Standby)
    assert caught.value.kwargs == {"number": 2, "before": {"wanted": 5}}
    context: Any = {"ti": instance(), "dag_run": run("backfill")}
    with pytest.raises(TaskDeferred) as again:
        task.after_standby(context, {"stopped": "paused"}, **caught.value.kwargs)
    assert isinstance(again.value.trigger, MoveTrigger)
    assert (again.value.trigger.number, again.value.trigger.not_before) == (2, None)
    assert again.value.trigger.use is not None
    assert again.value.trigger.use["priority"] == Priority.BACKFILL


def test_a_cancelled_window_ends_with_a_reason_for_what_is_missing(
    airflow: Any, database: Database, window: str
) -> None:
    task = RetrieveOperator(task_id="move", piece=StudyPiece(window, 0, 1).as_dict())
    order_retrieval(database, window, "vera", "cancelled")
    event = {"number": 1, "before": {}, **told(RetrievalCancelled("cancelled"))}
    returned = task.look_again({}, event)  # type: ignore[arg-type]
    assert (returned["cancelled"], returned["incomplete_studies"]) == (1, 1)
    gaps = rows(database, "select reason_code, detail from open_gap where step = 'received'")
    assert gaps == [{"reason_code": "cancelled", "detail": "cancelled by vera"}]


def test_the_form_sets_the_priority_and_resumes_a_cancelled_cohort_once(database: Database) -> None:
    cohort = Window.of_cohort("radiographs", "t1", date(2026, 10, 1), date(2026, 10, 2))
    asked = run(triggering_user_name="rita")
    _order(database, cohort, "urgent", asked)
    assert retrieval_state(database, cohort.key).priority is Priority.URGENT
    assert retrieval_state(database, cohort.key).ordered_by == "rita"
    order_retrieval(database, cohort.key, "vera", "cancelled")
    _order(database, cohort, "urgent", asked)
    assert retrieval_state(database, cohort.key).state == "cancelled", "a retry takes back what was ordered since"
    _order(database, cohort, "backfill", run(triggering_user_name="rita"))
    state = retrieval_state(database, cohort.key)
    assert (state.state, state.priority) == ("active", Priority.BACKFILL)
