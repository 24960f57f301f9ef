"""The sweeps beside the nightly one, in Airflow's own task runner: old days again, and the last minutes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from sluice.database import Database
from sluice.pacs.find.sweep import sweep
from sluice.pacs.receiver.receive import Receiver
from sluice.settings import settings
from sluice.windows import Window
from tests.pacs.pretend import PretendPacs, make_study
from tests.pacs.sending import rows

pytestmark = [pytest.mark.airflow, pytest.mark.slow, pytest.mark.timeout(180)]
DAY = date(2026, 3, 2)


@pytest.fixture
def pacs(
    airflow: pytest.MonkeyPatch, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PretendPacs]:
    """A PACS with one study of an old day, and Airflow connections to it and to the database."""
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path))
    settings.cache_clear()
    with (
        Receiver(database, settings().archive, min_free_bytes=1, move_source_ae_titles=("PRETEND",)) as receiver,
        PretendPacs(make_study(1, 2, StudyDate=f"{DAY:%Y%m%d}"), {"SLUICE": ("127.0.0.1", receiver.port)}) as running,
    ):
        extra = {"ae_title": "PRETEND", "calling_ae_title": "SLUICE_TEST", "move_destination": "SLUICE"}
        fields = {"conn_type": "pacs", "host": "127.0.0.1", "port": running.port, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_PACS_MAIN", json.dumps(fields))
        monkeypatch.setenv("AIRFLOW_CONN_SLUICE_DB", database.url.replace("postgresql://", "postgres://"))
        yield running
    settings.cache_clear()


def run(dag_bag: Any, dag_id: str, end: str = "success", **conf: Any) -> dict[str, str]:
    """State of each task after a run that ended so."""
    dag = dag_bag.dags[dag_id]
    with pytest.MonkeyPatch.context() as patch:  # other tests look at the same DAGs' retries
        for task in dag.tasks:
            patch.setattr(task, "retries", 0)
        done = dag.test(run_conf=conf)
    states = {instance.task_id: str(instance.state) for instance in done.get_task_instances()}
    assert done.state == end, states
    return states


def partitions() -> list[str]:
    """Partition keys of the events of `inventory`, oldest first."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        query = select(AssetEvent.partition_key).join(AssetModel, AssetModel.id == AssetEvent.asset_id)
        return list(session.scalars(query.where(AssetModel.name == "inventory").order_by(AssetEvent.id)))


def test_a_day_that_is_due_is_swept_again_and_starts_the_chain_where_something_is_new(
    pacs: PretendPacs, database: Database, dag_bag: Any
) -> None:
    sweep(database, pacs.node(name="pacs_main"), Window.of_day(DAY))
    before = partitions()
    nothing = {"sweep_again": "success", "start_chain": "skipped", "all_days": "success"}
    assert run(dag_bag, "sweep_again") == nothing, "nothing is due"
    database.execute("update sweep_run set started_at = %s", (DAY,))
    assert run(dag_bag, "sweep_again")["start_chain"] == "skipped", "due, and nothing new"
    assert len(rows(database, "select from sweep_run where finished_at is not null")) == 2
    database.execute("update sweep_run set started_at = %s", (DAY,))
    pacs.holds += make_study(1, 1, StudyDate=f"{DAY:%Y%m%d}")
    assert run(dag_bag, "sweep_again")["start_chain"] == "success"
    assert rows(database, "select event from study_event") == [{"event": "late"}]
    assert partitions() == [*before, DAY.isoformat()]


def test_each_pacs_is_asked_again_for_its_own_days_and_one_that_is_gone_holds_nobody_up(
    pacs: PretendPacs, database: Database, dag_bag: Any, airflow: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PretendPacs(make_study(1, 1, StudyDate=f"{DAY:%Y%m%d}")) as other:
        extra = {"ae_title": "PRETEND", "calling_ae_title": "SLUICE_TEST"}
        fields = {"conn_type": "pacs", "host": "127.0.0.1", "port": other.port, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_VNA", json.dumps(fields))
        run(dag_bag, "sweep", window_key=DAY.isoformat(), pacs="vna")
        assert len(pacs.queries) == 0
        database.execute("update sweep_run set started_at = %s", (DAY,))
        other.holds += make_study(1, 2, StudyDate=f"{DAY:%Y%m%d}")
        database.execute(
            "insert into sweep_run (window_key, pacs, kind, started_at, finished_at) "
            "values (%s, 'a_connection_that_was_removed', 'day', %s, %s)",
            (DAY.isoformat(), DAY, DAY),
        )
        states = run(dag_bag, "sweep_again", end="failed")
    assert states == {"sweep_again": "failed", "start_chain": "success", "all_days": "upstream_failed"}
    assert len(pacs.queries) == 0, "it was never swept for that day"
    assert rows(database, "select pacs, event from study_event") == [{"pacs": "vna", "event": "late"}]
    assert partitions()[-1] == DAY.isoformat()


def test_a_study_of_the_last_minutes_is_here_within_minutes(
    pacs: PretendPacs, database: Database, dag_bag: Any
) -> None:
    now = datetime.now(ZoneInfo(settings().time_zone))
    pacs.holds += make_study(1, 3, StudyDate=f"{now:%Y%m%d}", StudyTime=f"{now:%H%M%S}")
    before = partitions()
    run(dag_bag, "sweep_recent", minutes=30)
    (found,) = rows(database, "select window_key, count(*) as n from expectation group by 1")
    assert found == {"window_key": now.date().isoformat(), "n": 3}
    assert len(rows(database, "select from receipt")) == 3
    assert partitions() == before, "the rest of the chain has its own time"
