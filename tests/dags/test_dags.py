"""Every DAG: parses, is documented, retries, has limits, and hangs together by assets and windows."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pendulum
import pytest

pytestmark = pytest.mark.airflow

CHAIN = {
    "retrieve": {"inventory"},
    "extract_headers": {"archive"},
    "check_quality": {"headers"},
    "infer_body_part": {"headers"},
    "detect_ivc_filter": {"predictions_body_part"},
    "scanner_utilization": {"headers"},
    "clock_skew": {"headers"},
    "route_predictions": {"predictions_ivc_filter"},
    "export_release": {"quality", "predictions_body_part", "predictions_ivc_filter"},
}
DAYLESS = {
    "backfill_cohort", "read_archive", "sweep_recent", "sweep_again", "recall", "send_reports", "train_models",
    "annotate",
}  # fmt: skip


def stored(dag: Any) -> Any:
    """The DAG as the scheduler knows it, after a round trip through its serialised form."""
    from airflow.serialization.serialized_objects import DagSerialization

    return DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))


def test_all_dags_parse_fast_and_without_errors(dag_bag: Any) -> None:
    assert dag_bag.import_errors == {}
    assert set(dag_bag.dags) == {"sweep", *CHAIN, *DAYLESS}
    slow = {stat.file: stat.duration for stat in dag_bag.dagbag_stats if stat.duration > timedelta(seconds=2)}
    assert slow == {}


def test_parsing_imports_nothing_heavy(dag_bag: Any) -> None:
    import subprocess
    import sys

    from sluice.settings import CHECKOUT

    heavy = "great_expectations torch pandas pydicom pynetdicom boto3 numpy"
    names = ", ".join(f"dags.{name}" for name in sorted(path.stem for path in (CHECKOUT / "dags").glob("[a-z]*.py")))
    code = f"import airflow.sdk, sys\nbefore = set(sys.modules)\nimport {names}\n" + (
        f"print(sorted((set(sys.modules) - before) & set('{heavy}'.split())))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_every_dag_says_what_it_is_and_what_to_do(dag_bag: Any) -> None:
    for dag in dag_bag.dags.values():
        assert "**Normal.**" in dag.doc_md, dag.dag_id
        assert "**Worry when**" in dag.doc_md, dag.dag_id
        assert "sluice" in dag.tags, dag.dag_id
        assert dag.dagrun_timeout is not None
        # runs that wait for the governor of the PACS must not keep an urgent one from beginning
        # and of those that a clock starts again and again, one that waits is enough
        of_the_clock = dag.dag_id in {
            "sweep_recent",
            "sweep_again",
            "recall",
            "send_reports",
            "train_models",
            "annotate",
        }
        governed = "pacs" in dag.tags or "cohort" in dag.tags or dag.dag_id == "route_predictions"
        # a release that waits for its approval must not keep another from beginning
        waits_for_people = dag.dag_id in {"export_release", "backfill_cohort"}
        expected = 1 if of_the_clock else 32 if waits_for_people else 16 if governed else 2
        assert dag.max_active_runs == expected, dag.dag_id
        assert dag.catchup is False


def test_every_task_has_owner_retries_backoff_and_a_time_limit(dag_bag: Any) -> None:
    for dag in dag_bag.dags.values():
        for task in dag.tasks:
            assert task.owner == "research-data", task.task_id
            assert task.retries >= 1, task.task_id
            assert task.retry_exponential_backoff > 1, task.task_id
            assert task.execution_timeout is not None, task.task_id


def test_pacs_tasks_are_governed_by_its_pool_and_models_by_the_gpu(dag_bag: Any) -> None:
    pools = {(dag.dag_id, task.task_id): task.pool for dag in dag_bag.dags.values() for task in dag.tasks}
    assert pools["sweep", "sweep"] == "pacs_main"
    assert pools["retrieve", "retrieve.move"] == "pacs_main"
    assert pools["infer_body_part", "infer_body_part.read"] == "gpu"
    assert pools["detect_ivc_filter", "detect_ivc_filter.read"] == "gpu"


@pytest.mark.parametrize(("dag_id", "assets"), CHAIN.items())
def test_the_chain_is_the_data_flow(dag_bag: Any, dag_id: str, assets: set[str]) -> None:
    timetable = stored(dag_bag.dags[dag_id]).timetable
    assert timetable.partitioned
    assert {key.name for key, _ in timetable.asset_condition.iter_assets()} == assets
    for name in assets:
        mapper = timetable.get_partition_mapper(name=name, uri=f"x-sluice://ledger/{name}")
        assert mapper.to_downstream("2026-10-26") == "2026-10-26"


def test_each_asset_is_left_by_one_task_and_the_inventory_by_the_second_look_too(dag_bag: Any) -> None:
    makers: dict[str, list[str]] = {}
    for dag in dag_bag.dags.values():
        for task in dag.tasks:
            for asset in task.outlets:
                makers.setdefault(asset.name, []).append(dag.dag_id)
    assert sorted(makers.pop("inventory")) == ["sweep", "sweep_again"]
    assert all(len(dags) == 1 for dags in makers.values()), makers
    assert {name for assets in CHAIN.values() for name in assets} - {"inventory"} <= set(makers)


def test_a_backfill_of_one_day_makes_one_run_with_the_days_key(dag_bag: Any) -> None:
    timetable = stored(dag_bag.dags["sweep"]).timetable
    for day in ("2026-10-25", "2026-10-26", "2026-03-29"):  # the end and the start of summer time among them
        midnight = pendulum.parse(day)
        infos = list(timetable.iter_partition_dagrun_infos(earliest=midnight, latest=midnight))
        assert [info.partition_key for info in infos] == [day]


def test_a_backfill_of_a_week_makes_seven_runs(dag_bag: Any) -> None:
    timetable = stored(dag_bag.dags["sweep"]).timetable
    infos = timetable.iter_partition_dagrun_infos(
        earliest=pendulum.datetime(2026, 10, 22), latest=pendulum.datetime(2026, 10, 28)
    )
    assert [info.partition_key for info in infos] == [f"2026-10-{day}" for day in range(22, 29)]


@pytest.mark.parametrize(("day", "next_midnight"), [("2026-10-25", "2026-10-26"), ("2026-03-29", "2026-03-30")])
def test_the_scheduled_run_is_for_the_day_that_ended(dag_bag: Any, day: str, next_midnight: str) -> None:
    from airflow.timetables.base import TimeRestriction

    timetable = stored(dag_bag.dags["sweep"]).timetable
    midnight = pendulum.parse(next_midnight, tz="Europe/Berlin")
    info = timetable.next_dagrun_info_v2(
        last_dagrun_info=None, restriction=TimeRestriction(earliest=midnight, latest=None, catchup=True)
    )
    assert info.partition_key == day
    assert info.run_after == midnight
    (backfilled,) = timetable.iter_partition_dagrun_infos(earliest=pendulum.parse(day), latest=pendulum.parse(day))
    assert backfilled.partition_date == info.partition_date, "the schedule and a backfill are the same partition"


@pytest.mark.parametrize(("run_type", "hours"), [("scheduled", 2), ("backfill", 0), ("manual", 0)])
def test_only_the_nightly_run_waits_for_quiet_hours(dag_bag: Any, run_type: str, hours: int) -> None:
    from types import SimpleNamespace

    from airflow.sdk import macros
    from jinja2 import Template

    run = SimpleNamespace(run_after=datetime(2026, 10, 26, 23, 0), run_type=run_type)
    target = dag_bag.dags["sweep"].get_task("wait_for_quiet_hours").target_time
    shown = Template(target).render(dag_run=run, macros=macros)
    assert datetime.fromisoformat(shown) == run.run_after + timedelta(hours=hours)


@pytest.mark.parametrize(
    ("partition_key", "typed", "window"),
    [("2026-10-26", None, "2026-10-26"), (None, "2026-10-25", "2026-10-25"), (None, None, "")],
)
def test_a_run_works_on_its_partition_or_on_what_was_typed(partition_key: Any, typed: Any, window: str) -> None:
    from types import SimpleNamespace

    from jinja2 import Template

    from operators.policies import WINDOW

    shown = Template(WINDOW).render(
        dag_run=SimpleNamespace(partition_key=partition_key), params=SimpleNamespace(window_key=typed)
    )
    assert shown == window


@pytest.mark.parametrize("key", ["2026-10-26", "2026-10-26T1015-1030"])
def test_a_sweep_by_hand_is_of_a_day_or_of_minutes(dag_bag: Any, key: str) -> None:
    assert dag_bag.dags["sweep"].params.get_param("window_key").resolve(key) == key


@pytest.mark.parametrize("key", ["26.10.2026", "cohort/x", "../etc", "2026-10-26; drop"])
def test_a_typed_window_is_checked_in_the_form(dag_bag: Any, key: str) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError):
        dag_bag.dags["retrieve"].params.get_param("window_key").resolve(key)


def test_tasks_show_their_links_after_serialisation(dag_bag: Any) -> None:
    def links(dag_id: str, task_id: str) -> set[str]:
        return {link.name for link in stored(dag_bag.dags[dag_id]).get_task(task_id).operator_extra_links}

    assert links("check_quality", "check_quality") == {"Sluice page", "Data Docs"}
    assert links("export_release", "export_release.each.publish") == {"Sluice page", "Bucket"}
    assert links("backfill_cohort", "find") == {"Sluice page"}
