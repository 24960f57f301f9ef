"""The whole chain on a tiny simulated hospital: real DICOM, Postgres and S3, and Airflow's own task runner.

`dag.test()` runs one DAG at a time, so the tests play the scheduler and run the chain in the order of its assets. All
of it happens in one process, in the order of this file.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydicom import dcmread

from sluice.database import Database, select
from sluice.hospital.build import build
from sluice.hospital.pacs import HospitalPacs
from sluice.hospital.truth import Truth
from sluice.objects import ObjectStore
from sluice.pacs.receiver.receive import Receiver
from sluice.pull import pull
from sluice.release.projects import load_project
from sluice.settings import settings
from sluice.stack.postgres import EmbeddedPostgres
from sluice.stack.processes import free_port
from sluice.stack.s3 import EmbeddedS3

pytestmark = [pytest.mark.airflow, pytest.mark.slow, pytest.mark.timeout(900)]
EMPTY_DAY = "2026-01-01"


@dataclass
class Scene:
    """A hospital beside a Sluice."""

    truth: Truth
    pacs: HospitalPacs
    database: Database
    store: ObjectStore
    home: Path

    @property
    def day(self) -> str:
        return self.truth.day.isoformat()

    def rows(self, statement: str, *params: Any) -> list[dict[str, Any]]:
        with self.database.transaction() as connection:
            return select(connection, statement, params)


@pytest.fixture(scope="module")
def scene(
    airflow: pytest.MonkeyPatch,
    postgres: EmbeddedPostgres,
    s3: EmbeddedS3,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Scene]:
    """A built hospital, its PACS, our receiver, and Airflow connections to all of it."""
    import psycopg2

    home, hospital = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("hospital")
    truth = build(hospital, scale="tiny")
    admin = psycopg2.connect(postgres.url("postgres"))
    admin.autocommit = True
    with admin.cursor() as cursor:
        cursor.execute("create database test_chain template sluice")
    admin.close()
    database = Database(postgres.application_url("test_chain"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICE_HOME", str(home))
        patch.setenv("SLUICE_RETRIEVE_PAUSE_S", "0.2")
        patch.setenv("SLUICE_PROJECTS", str(without_approval(home / "projects")))
        settings.cache_clear()
        store = s3.bucket("sluice-releases")
        receiver = Receiver(
            database, settings().archive, move_source_ae_titles=["HOSPITAL_PACS"], min_free_bytes=1 << 20
        )
        receiver.start()
        pacs = HospitalPacs(hospital, destinations={"SLUICE": ("127.0.0.1", receiver.port)}).start()
        extra = {
            "ae_title": "HOSPITAL_PACS",
            "calling_ae_title": "SLUICE",
            "move_destination": "SLUICE",
            "timeout_s": 10,
        }
        patch.setenv("AIRFLOW_CONN_PACS_MAIN", connection("pacs", host="127.0.0.1", port=pacs.port, extra=extra))
        patch.setenv("AIRFLOW_CONN_SLUICE_DB", database.url.replace("postgresql://", "postgres://"))
        aws = {"endpoint_url": s3.endpoint_url, "service_config": {"s3": {"bucket_name": store.bucket}}}
        aws["config_kwargs"] = {"s3": {"addressing_style": "path"}}
        keys = {"login": s3.access_key, "password": s3.secret_key}
        patch.setenv("AIRFLOW_CONN_SLUICE_S3", connection("aws", extra=aws, **keys))
        yield Scene(truth, pacs, database, store, home)
        pacs.stop()
        receiver.stop()
    settings.cache_clear()


def without_approval(folder: Path) -> Path:
    """The shipped projects as they are where nobody has to approve: `dag.test()` has no one who answers."""
    folder.mkdir()
    for path in (Path(__file__).parents[2] / "projects").glob("*.yaml"):
        (folder / path.name).write_text(path.read_text().replace("approval: one", "approval: none"))
    return folder


def connection(conn_type: str, **fields: Any) -> str:
    return json.dumps({"conn_type": conn_type, **fields})


@pytest.fixture(scope="module")
def run(scene: Scene, dag_bag: Any) -> Any:
    """Run one DAG for a window; returns the DAG run, and what its tasks returned by task id."""

    def run_dag(dag_id: str, **conf: Any) -> tuple[Any, dict[str, Any]]:
        from datetime import timedelta

        from airflow.models.xcom import XComModel
        from airflow.utils.session import create_session
        from sqlalchemy import select as query

        dag = dag_bag.dags[dag_id]
        with pytest.MonkeyPatch.context() as monkeypatch:  # other tests look at the same DAGs' retries
            for task in dag.tasks:
                monkeypatch.setattr(task, "retry_delay", timedelta(seconds=0.1))
                monkeypatch.setattr(task, "retry_exponential_backoff", 0)
            done = dag.test(run_conf=conf)
        with create_session() as session:
            found = session.scalars(
                query(XComModel).where(XComModel.run_id == done.run_id, XComModel.dag_id == dag_id)
            ).all()
            values: dict[str, Any] = {}
            for row in found:
                if row.key == "return_value" and row.map_index < 0:
                    values[row.task_id] = XComModel.deserialize_value(row)
        return done, values

    return run_dag


def test_the_sweep_expects_what_the_hospital_has(scene: Scene, run: Any) -> None:
    done, returned = run("sweep", window_key=scene.day)
    assert done.state == "success"
    expected = {row["sop_instance_uid"] for row in scene.rows("select sop_instance_uid from expectation")}
    truly = {
        instance.sop_instance_uid
        for study in scene.truth.studies
        if study.in_pacs
        for series in study.series
        for instance in series.instances
    }
    assert expected == truly
    assert returned["sweep"]["instances"] == len(expected)


def test_retrieve_gets_what_the_pacs_gives_and_reasons_for_the_rest(scene: Scene, run: Any) -> None:
    done, returned = run("retrieve", window_key=scene.day)
    assert done.state == "success"
    missing = scene.rows(
        "select sop_instance_uid, reason_code from open_gap where window_key = %s and step = 'received'", scene.day
    )
    truly = {
        instance.sop_instance_uid
        for study in scene.truth.studies
        if study.in_pacs
        for series in study.series
        for instance in series.instances
        if instance.ends_at_step == "received"
    }
    assert {row["sop_instance_uid"] for row in missing} == truly
    assert all(row["reason_code"] != "not-asked" for row in missing)
    assert returned["retrieve.summary"]["missing"] == len(truly)
    assert returned["retrieve.summary"]["failed_batches"] == 0


def test_the_chain_runs_to_the_bucket(scene: Scene, run: Any) -> None:
    for dag_id in (
        "extract_headers",
        "check_quality",
        "infer_body_part",
        "detect_ivc_filter",
        "scanner_utilization",
        "clock_skew",
        "export_release",
    ):
        done, returned = run(dag_id, window_key=scene.day)
        assert done.state == "success", (dag_id, [(ti.task_id, ti.state) for ti in done.get_task_instances()])
    (funnel,) = scene.rows("select * from window_funnel where window_key = %s", scene.day)
    assert funnel["received"] > 0
    assert 0 < funnel["released"] <= funnel["checked"] == funnel["indexed"] <= funnel["received"]
    radiographs = scene.rows("select reason_code from open_gap where step = 'predicted' and modality in ('CR', 'DX')")
    assert all(row["reason_code"] in ("pixels-unreadable", "pixels-unsuitable") for row in radiographs)
    assert funnel["predicted"] > 0
    read = scene.rows("select count(*) as n from body_part_reading where examined is not null")
    assert scene.rows("select count(*) as n from fused_anatomy") == read != [{"n": 0}]
    assert scene.rows("select 1 from scanner_utilization where window_key = %s", scene.day)
    assert scene.rows("select 1 from clock_offset where window_key = %s", scene.day)
    summary = returned["export_release.summary"]
    assert summary["published"] == summary["releases"] > 0
    assert summary["objects"] == funnel["released"] or summary["releases"] > 1
    for prefix in summary["prefixes"]:
        keys = {item.key for item in scene.store.list(prefix.split("/", 1)[1])}
        assert any(key.endswith("manifest.json") for key in keys)


def test_what_was_written_about_pictures_leaves_with_them(
    scene: Scene, run: Any, s3: EmbeddedS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reports, key object notes and presentation states in the bucket, in the tables, and as a reader pulls them."""
    (release,) = scene.rows("select prefix, release_id from release where project = 'radiographs' and version = 1")
    for name, value in {
        "ENDPOINT_URL": s3.endpoint_url,
        "ACCESS_KEY_ID": s3.access_key,
        "SECRET_ACCESS_KEY": s3.secret_key,
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    pulled = pull(f"s3://{scene.store.bucket}/{release['prefix']}", tmp_path / "copy", only=["dicom", "tables"])
    assert not pulled.failed
    documents = {
        kind: [path for path in (tmp_path / "copy").rglob("*.dcm") if str(dcmread(path).Modality) == kind]
        for kind in ("SR", "KO", "PR")
    }
    truly = Counter(
        series.modality
        for study in scene.truth.studies
        if study.in_pacs
        for series in study.series
        if series.modality in documents
    )
    assert {kind: len(paths) for kind, paths in documents.items()} == truly
    released = {
        row["uid"]: row["original"]
        for row in scene.rows(
            "select columns ->> 'sop_instance_uid' as uid, sop_instance_uid as original from released_object "
            "where release_id = %s and kind = 'dicom'",
            release["release_id"],
        )
    }
    films = {
        instance.sop_instance_uid
        for study in scene.truth.studies
        for series in study.series
        for instance in series.instances
        if series.modality == "DX"
    }
    dangling = 0
    for paths in documents.values():
        for path in paths:
            dataset = dcmread(path)
            referred = [str(element.value) for element in dataset.iterall() if element.tag == 0x00081155]
            known = [released[uid] for uid in referred if uid in released]
            assert set(known) <= films
            if dataset.Modality in ("KO", "PR"):
                assert len(known) == len(referred) > 0, "the film that it is of is released"
            if dataset.Modality == "PR":
                (annotation,) = dataset.GraphicAnnotationSequence
                assert list(annotation.GraphicObjectSequence[0].GraphicData) == [40.0, 40.0, 90.0, 120.0]
                assert "[" not in str(annotation.TextObjectSequence[0].UnformattedTextValue)
            dangling += len(referred) - len(known)
            assert all(uid.startswith("2.25.") and uid not in films for uid in referred)
    assert dangling == 2, "one earlier film of each report, which nobody has: a pseudonym that leads nowhere"
    table = pq.read_table(next((tmp_path / "copy").rglob("reports.parquet"))).to_pylist()
    assert {row["sop_instance_uid"] for row in table} == {
        str(dcmread(path).SOPInstanceUID) for kind in ("SR", "KO") for path in documents[kind]
    }
    findings = [row for row in table if row["concept_code"] == "121071"]
    assert len(findings) == 2
    assert all(row["gaps"] and row["language"] in ("de", "en") for row in findings)
    assert all(row["text"].startswith(("Abdomen", "Lumbar", "Lendenwirbels")) for row in findings)


def test_running_the_chain_again_changes_nothing(scene: Scene, run: Any) -> None:
    def facts() -> dict[str, Any]:
        tables = ("expectation", "receipt", "instance", "quality_check", "prediction", "fused_anatomy")
        tables += ("released_object", "release")
        return {name: scene.rows(f"select count(*) as n from {name}")[0]["n"] for name in tables}

    before = facts()
    for dag_id in ("retrieve", "infer_body_part", "export_release"):
        done, _ = run(dag_id, window_key=scene.day)
        assert done.state == "success", dag_id
    assert facts() == before


def test_a_day_without_studies_succeeds_with_zero_counts(scene: Scene, run: Any) -> None:
    for dag_id in ("sweep", "extract_headers", "export_release", "scanner_utilization"):
        done, returned = run(dag_id, window_key=EMPTY_DAY)
        assert done.state == "success", dag_id
    assert returned["report_utilization"] == {"window_key": EMPTY_DAY, "scanners": 0}


def test_a_researchers_list_gets_an_answer_for_each_row_and_a_release(scene: Scene, run: Any) -> None:
    wanted = [study for study in scene.truth.studies if study.in_pacs and study.accession_number][:2]
    table = ["Accession Number", *(study.accession_number for study in wanted), "NO-SUCH-STUDY", "*"]
    done, returned = run("backfill_cohort", project="radiographs", name="first", csv="\n".join(table), filter=None)
    assert done.state == "success", [(ti.task_id, ti.state) for ti in done.get_task_instances()]
    answers = returned["answers"]["answers"]
    assert [answer.split(".")[0] for answer in answers] == [
        "line 2: found",
        "line 3: found",
        "line 4: not-found",
        "line 5: refused",
    ]
    assert not [study for study in wanted if study.accession_number in json.dumps(answers)]
    (window,) = scene.rows("select * from sweep_window where kind = 'cohort'")
    assert window["window_key"] == "cohort/radiographs/first"
    assert returned["export_release.summary"]["projects"] == 1
    released = scene.rows(
        "select distinct r.study_instance_uid from release_member join release using (release_id) "
        "join receipt r using (sop_instance_uid) where window_key = 'cohort/radiographs/first'"
    )
    assert {row["study_instance_uid"] for row in released} <= {study.study_instance_uid for study in wanted}
    assert released
    studies = scene.rows(
        "select distinct study_instance_uid from expectation where window_key = 'cohort/radiographs/first'"
    )
    assert {row["study_instance_uid"] for row in studies} == {study.study_instance_uid for study in wanted}


def test_a_filter_is_frozen_and_exactly_its_members_are_released(scene: Scene, run: Any) -> None:
    text = f"modality: [DX, CR]\nstudy_date: {scene.day}\nbody_part: {{present: true}}\n"
    # the runs of these tests share one DAG, which keeps what the run before was given
    done, returned = run("backfill_cohort", project="radiographs", name="films", csv=None, filter=text)
    assert done.state == "success", [(ti.task_id, ti.state) for ti in done.get_task_instances()]
    assert returned["find"]["pacs_was_asked"] is True
    frozen = returned["members"]
    assert (frozen["version"], frozen["instances"] > 0) == (1, True)
    members = f"select sop_instance_uid from cohort_instance where version_id = {frozen['version_id']}"
    released = (
        "select sop_instance_uid from release_member join release using (release_id) where window_key = '{}' order by 1"
    )
    of_filter = scene.rows(released.format("cohort/radiographs/films"))
    assert of_filter
    assert {row["sop_instance_uid"] for row in of_filter} <= {row["sop_instance_uid"] for row in scene.rows(members)}
    expected = scene.rows("select count(*) as n from expectation where window_key = 'cohort/radiographs/films'")
    assert expected[0]["n"] > len(of_filter), "the PACS cannot tell the body part"
    done, again = run("backfill_cohort", project="radiographs", name="films", csv=None, filter=None, version=1)
    assert done.state == "success"
    formats = list(load_project("radiographs").formats)
    released_as = {"version_id": frozen["version_id"], "formats": formats, "profile": "basic"}
    assert again["members"] == {"window_key": "cohort/radiographs/films/v1", **released_as}
    assert "rows" not in again["find"]
    assert scene.rows(released.format("cohort/radiographs/films/v1")) == of_filter


def test_no_identifier_travels_through_airflow(scene: Scene, run: Any) -> None:
    """Airflow's metadata (XCom) holds no UID of a study and no patient."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select as query

    with create_session() as session:
        values = "\n".join(json.dumps(row.value) for row in session.scalars(query(XComModel)).all())
    assert values
    for study in scene.truth.studies:
        assert study.study_instance_uid not in values
        assert f'"{study.patient_id}"' not in values


def test_links_lead_to_the_windows_pages_and_to_the_release(scene: Scene, run: Any) -> None:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select as query

    with create_session() as session:
        rows = session.scalars(query(XComModel).where(XComModel.key.like("\\_link%"))).all()
        links = {XComModel.deserialize_value(row) for row in rows}
    assert f"/sluice/?window={scene.day}" in links
    assert f"/sluice/quality?window={scene.day}" in links
    assert any("/sluice-releases/?list-type=2&prefix=radiographs%2Fv1%2F" in str(link) for link in links)


def test_a_pacs_that_is_down_turns_the_run_red_with_reasons_in_the_ledger(
    scene: Scene, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.database.execute(
        "insert into sweep_window values ('2026-01-02', 'day', '2026-01-02', '2026-01-02')",
    )
    scene.database.execute(
        "insert into expectation (window_key, sop_instance_uid, series_instance_uid, study_instance_uid, pacs) "
        "values ('2026-01-02', '1.2.3.1', '1.2.3', '1.2', 'pacs_main')"
    )
    extra = {"ae_title": "HOSPITAL_PACS", "timeout_s": 2}
    nobody = connection("pacs", host="127.0.0.1", port=free_port(), extra=extra)
    monkeypatch.setenv("AIRFLOW_CONN_PACS_MAIN", nobody)
    done, returned = run("retrieve", window_key="2026-01-02")
    assert done.state == "failed"
    assert returned["retrieve.summary"]["failed_batches"] == 1
    (gap,) = scene.rows("select reason_code from open_gap where window_key = '2026-01-02' and step = 'received'")
    assert gap["reason_code"] == "pacs-unreachable"


def test_airflow_knows_nobody(scene: Scene, postgres: EmbeddedPostgres, airflow: pytest.MonkeyPatch) -> None:
    """No identifier of the hospital in XComs, the forms of runs, rendered templates or any other table, nor in logs."""
    import os

    names = scene.rows("select distinct patient_name as name from study where length(patient_name) > 4")
    wanted = {row["name"] for row in names}
    for study in scene.truth.studies:
        wanted |= {study.patient_id, study.accession_number, study.study_instance_uid} - {""}
        for series in study.series:
            wanted |= {series.series_instance_uid, *(instance.sop_instance_uid for instance in series.instances)}
    assert len(wanted) > 50
    told: dict[str, str] = {}
    with Database(postgres.url("airflow")).transaction() as connection:
        tables = select(connection, "select tablename as name from pg_tables where schemaname = 'public'")
        for table in (row["name"] for row in tables):
            # a test above gave a list to its run as at a terminal: what that keeps is said in plugins/form_door.py
            but = " where coalesce(t.conf::text, '') not like '%NO-SUCH-STUDY%'" if table == "dag_run" else ""
            rows = select(connection, f'select (t.*)::text as said from "{table}" t{but}')
            told[table] = "\n".join(row["said"] or "" for row in rows)
    logs = Path(os.environ["AIRFLOW__LOGGING__BASE_LOG_FOLDER"])
    told |= {path.name: path.read_text("latin-1") for path in logs.rglob("*.log")}
    assert "take_back" in told["xcom"] or "prepare" in told["xcom"]
    assert {place for place, text in told.items() if any(one in text for one in wanted)} == set()
