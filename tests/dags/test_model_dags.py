"""The DAGs around the models, run by Airflow's own task runner: training, routing, reports."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sluice.database import Database, select
from sluice.registry.registry import card_of, models
from sluice.reports.making import ask
from sluice.settings import settings
from sluice.stack.postgres import EmbeddedPostgres
from tests.conftest import temporary_database
from tests.peers.test_sending import received, storescp
from tests.reports.scene import ReadStudy

pytestmark = [pytest.mark.airflow, pytest.mark.slow, pytest.mark.timeout(600)]
TINY = {
    "steps": 3, "filter_steps": 2, "batch": 4, "side": 64, "seed": 3, "site_films": 0, "minutes": None, "labels": None,
}  # fmt: skip
RULES = """\
rules:
  - name: abdomens
    about: a test
    when: {prediction: {task: body_part, label: abdominal}}
    to: {node: pacs_cad}
  - name: filters
    about: a test
    when: {prediction: {task: ivc_filter, label: present}}
    to: {dag: scanner_utilization}
  - name: to-nobody
    about: a test
    when: {prediction: {task: ivc_filter, label: present}}
    to: {dag: there_is_no_such_dag}
"""


KINDS = (  # label, router class, source, remark
    ("Abdomen", "abdominal", "unifesp", ""),
    ("LumbarSpine", "spine", "hannover", ""),
    ("LumbarSpine", "spine", "unifesp", ""),
    ("Chest", "adult_chest", "nih", "40Y PA"),
    ("Chest", "pediatric_chest", "nih", "8Y AP"),
)


def films(folder: Path) -> None:
    """A data folder with drawn films of a few kinds, each in all splits."""
    rows = []
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    generator = np.random.default_rng(5)
    shapes = (x**2 + y**2 < 0.4, np.abs(x) < 0.15, np.abs(x) < 0.15, np.abs(y) < 0.3, np.abs(y - 0.3) < 0.2)
    for number in range(50):
        kind = number % 5
        label, router5, source, extra = KINDS[kind]
        path = folder / "radiographs" / source / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = generator.integers(0, 40, x.shape)
        Image.fromarray((40 + 150 * shapes[kind] + noise).astype(np.uint8)).save(path)
        digest = "0369abcdef"[number // 5] + hashlib.sha256(path.read_bytes()).hexdigest()[1:]
        rows.append({"file": path.relative_to(folder).as_posix(), "sha256": digest, "label": label,
                     "router5": router5, "group": f"p{number}", "extra": extra})  # fmt: skip
    with (folder / "manifest.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def site(
    airflow: pytest.MonkeyPatch, postgres: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database]:
    """An installation of its own, with drawn films for training."""
    films(tmp_path / "data")
    with temporary_database(postgres) as database:
        monkeypatch.setenv("SLUICE_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("SLUICE_TRAINING_DATA", str(tmp_path / "data"))
        monkeypatch.setenv("SLUICE_ROUTING", str(tmp_path / "routing.yaml"))
        monkeypatch.setenv("AIRFLOW_CONN_SLUICE_DB", database.url.replace("postgresql://", "postgres://"))
        (tmp_path / "routing.yaml").write_text(RULES)
        settings.cache_clear()
        yield database
        settings.cache_clear()


def run(dag_bag: Any, dag_id: str, **conf: Any) -> tuple[Any, dict[str, str]]:
    """A run of a DAG, and the states of its tasks by id and map index."""
    from datetime import timedelta

    dag = dag_bag.dags[dag_id]
    for task in dag.tasks:
        task.retry_delay, task.max_retry_delay, task.retries = timedelta(0), timedelta(seconds=1), 0
    done = dag.test(run_conf=conf)
    states = {}
    for instance in done.get_task_instances():
        suffix = f"[{instance.map_index}]" if instance.map_index >= 0 else ""
        states[instance.task_id + suffix] = str(instance.state)
    return done, states


def test_architectures_are_trained_side_by_side_measured_and_candidates(site: Database, dag_bag: Any) -> None:
    architectures = ["centre_heatmap_fpn", "compact_resnet"]
    done, states = run(dag_bag, "train_models", architectures=architectures, **TINY)
    assert str(done.state) == "success", states
    assert {name: states[name] for name in ("train[0]", "train[1]", "measure[0]", "measure[1]")} == dict.fromkeys(
        ("train[0]", "train[1]", "measure[0]", "measure[1]"), "success"
    )
    rows = models(site)
    new = sorted((row for row in rows if row["stage"] == "candidate"), key=lambda row: row["architecture"])
    assert [(row["task"], row["architecture"]) for row in new] == [
        ("ivc_filter", "centre_heatmap_fpn"), ("body_part", "compact_resnet"),
    ]  # fmt: skip
    assert len({row["data_snapshot"] for row in new}) == 1
    assert all(row["data_snapshot"] for row in new)
    assert len(rows) == 4
    sets = {(row["task"], row["evaluation_set"]) for row in rows}
    assert len(sets) == 2, "the shipped models were measured on the same films"
    detector, network = (row["metrics"] for row in new)
    assert {"router5 macro F1", "router5 macro F1, external", "examined right"} <= set(network)
    assert {"sensitivity (synthetic filters)", "specificity (real films)"} == set(detector)
    of_detector, of_network = (card_of(site, row["model_id"])["figures"] for row in new)
    assert {"internal", "external", "unifesp"} <= set(of_network["router5"]["by_subset"])
    assert "top2_accuracy" in of_network["examined36"]["by_subset"]["internal"]
    assert "reasonable" in of_network["examined36"]["by_subset"]["internal"]
    assert 0 <= of_network["router5"]["calibration_error"] <= 1
    counts = of_network["confusions"]["router5"]["internal"]["counts"]
    assert sum(map(sum, counts)) == of_network["router5"]["by_subset"]["internal"]["films"]
    assert sum(map(sum, of_detector["confusions"]["ivc_filter"].popitem()[1]["counts"])) > 100
    assert of_network["gate"]["metrics"] == network
    assert of_network["of_this_site"] | {"evaluation_set": ""} == {
        "evaluation_set": "", "films": 0, "patients": 0, "metrics": {}, "too_few": True, "asked_for": 30,
    }  # fmt: skip
    with site.transaction() as connection:
        runs = select(connection, "select * from training_run order by architecture")
    assert [(one["state"], one["step"], one["steps"], one["model_id"]) for one in runs] == [
        ("done", steps, steps, row["model_id"]) for steps, row in zip((2, 3), new, strict=True)
    ]
    weights = sorted((settings().home / "training").rglob("*.pt"))
    assert sorted(path.name for path in weights) == ["body_part.pt", "ivc_filter.pt"]
    made = [path.stat().st_mtime_ns for path in weights]
    again, states = run(dag_bag, "train_models", architectures=architectures, **TINY)
    assert str(again.state) == "success", states
    assert [path.stat().st_mtime_ns for path in weights] == made, "what is done is not done again"
    assert len(models(site)) == 4
    with site.transaction() as connection:
        (count,) = select(connection, "select count(*) as n from model_evaluation")
    assert count["n"] == 4, "each of four models once"


def test_decisions_are_sent_and_started_and_what_failed_stays_open(
    site: Database, dag_bag: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = ReadStudy(site, settings().archive)
    with storescp(tmp_path, "+xa", "-B") as node:
        extra = {"ae_title": node.ae_title, "calling_ae_title": "SLUICE", "move_destination": "SLUICE"}
        monkeypatch.setenv(
            "AIRFLOW_CONN_PACS_CAD",
            json.dumps({"conn_type": "pacs", "host": node.host, "port": node.port, "extra": extra}),
        )
        _, states = run(dag_bag, "route_predictions", window_key="2026-10-26")
        ask(site, read.study, "pacs_cad", "ada")
        reported, of_reports = run(dag_bag, "send_reports")
    assert states["send[0]"] == "success", states
    got = received(tmp_path)
    assert set(read.films) <= set(got)
    with site.transaction() as connection:
        rows = select(
            connection,
            "select d.rule, a.outcome, count(*) as n from routing_decision d left join routing_action a "
            "using (decision_id) group by 1, 2 order by 1",
        )
    outcome = {(row["rule"], row["outcome"]): row["n"] for row in rows}
    assert outcome[("abdomens", "sent")] == 2
    assert (str(reported.state), len(got)) == ("success", 3), of_reports
    assert outcome == {("abdomens", "sent"): 2, ("filters", "started"): 1, ("to-nobody", "failed"): 1}, states
