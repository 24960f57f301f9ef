"""The Sluice page behind Airflow's login: who gets in, what it answers, what it never hands out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.plugins.conftest import logged_in

pytestmark = pytest.mark.airflow
DAY = "2026-10-26"


def routes() -> list[tuple[str, str]]:
    """Method and path of every route of the page, with something plausible for its parameters."""
    from plugins.app import build

    filled = {"name": "app.js", "sop_instance_uid": "1.2.3", "path": "quality/x/index.html", "field": "modality"}
    filled |= dict.fromkeys(("release_id", "list_id", "cohort_id", "version_id", "request_id", "recall_id"), "1") | {
        "what": "studies",
        "model_id": "body_part-x-000000000000",
    }
    paths = {
        (method, route.path.replace(":path}", "}").format(**filled))
        for route in build([]).routes
        for method in route.methods
    }
    assert len(paths) >= 15
    assert {"GET", "POST", "PUT", "DELETE"} <= {method for method, _ in paths}
    return sorted(paths)


def test_airflow_takes_the_plugin_without_an_error(client: TestClient) -> None:
    from airflow.api_fastapi.core_api.datamodels.plugins import PluginResponse
    from airflow.plugins_manager import _get_plugins, get_plugin_info

    plugins, errors = _get_plugins()
    assert errors == {}
    assert [plugin.name for plugin in plugins].count("sluice") == 1
    described = {info["name"]: PluginResponse.model_validate(info) for info in get_plugin_info()}
    views = described["sluice"].external_views
    assert {(view.destination, view.href) for view in views} == {
        ("nav", "/sluice/"),
        ("dag_run", "/sluice/?dag_id={DAG_ID}&run_id={RUN_ID}"),
    }


def test_the_plugin_costs_airflows_other_processes_nothing() -> None:
    code = (
        "import sys, airflow.plugins_manager; before = set(sys.modules); import plugins.sluice_plugin; "
        "heavy = {'fastapi', 'psycopg2', 'great_expectations', 'pandas', 'pydicom', 'boto3'}; "
        "print(sorted(heavy & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_nobody_gets_in_without_a_login(client: TestClient) -> None:
    for method, path in routes():
        answer = client.request(method, f"/sluice{path}")
        assert answer.status_code == 401, (method, path)
        assert "script" not in answer.text
    for path in ("/api/nowhere", "/docs", "/openapi.json", "/redoc"):
        assert client.get(f"/sluice{path}").status_code == 404, path
    assert client.get("/sluice/", headers={"Authorization": "Bearer forged"}).status_code in {401, 403}


def test_who_opens_a_page_in_vain_reads_why(client: TestClient, viewer: TestClient) -> None:
    browsers = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    for who, path, status, words in (
        (client, "cohorts", 401, "Log in to Airflow in another tab"),
        (logged_in(client, None), "trend", 403, "may not see this page"),
        (viewer, "nowhere", 404, "There is no such page."),
        (viewer, "reports/quality/2020-01-01/index.html", 404, "It may not have been made yet"),
    ):
        answer = who.get(f"/sluice/{path}", headers=browsers)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8"), path
        assert words in answer.text
        assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert client.get("/sluice/api/windows").json()["detail"], "what pages ask is answered as JSON"


def test_users_who_may_not_read_the_dags_are_refused(client: TestClient) -> None:
    stranger = logged_in(client, None)
    for method, path in routes():
        assert stranger.request(method, f"/sluice{path}").status_code == 403, (method, path)


def test_the_page_is_there_with_a_strict_policy(viewer: TestClient) -> None:
    page = viewer.get("/sluice/")
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "http://" not in page.text
    assert "https://" not in page.text
    for asset in ("app.js", "page.css", "icon.svg", "icon-dark.svg"):
        assert viewer.get(f"/sluice/static/{asset}").status_code == 200


def test_the_funnel_closes(viewer: TestClient) -> None:
    assert [row["window_key"] for row in viewer.get("/sluice/api/windows").json()] == [DAY]
    funnel = viewer.get("/sluice/api/funnel", params={"window": DAY}).json()
    assert (funnel["members"], funnel["received"], funnel["indexed"], funnel["released"]) == (206, 194, 193, 12)
    assert funnel["under_way"] is None
    assert [step["step"] for step in funnel["steps"]] == ["received", "indexed", "checked", "predicted", "released"]
    for step in funnel["steps"]:
        assert step["unexplained"] == 0
        assert step["of"] == step["reached"] + sum(gap["instances"] for gap in step["gaps"])
        assert all(gap["meaning"] and gap["advice"] for gap in step["gaps"])
    idle = {gap["reason_code"] for step in funnel["steps"] for gap in step["gaps"] if gap["nothing_to_do"]}
    assert idle == {"not-a-radiograph"}
    asked: dict[str, str | int] = {"window": DAY, "step": "received", "reason": "failed-suboperation", "page_size": 1}
    first = viewer.get("/sluice/api/gap", params=asked).json()
    rest = viewer.get("/sluice/api/gap", params=asked | {"after": first["next"]}).json()
    assert [row["instances"] for row in first["series"] + rest["series"]] == [4, 4]
    assert first["series"] != rest["series"]
    assert rest["next"] is None
    assert viewer.get("/sluice/api/funnel", params={"window": "2001-01-01"}).json()["members"] == 0


def test_scanners_and_clocks(viewer: TestClient) -> None:
    scanners = viewer.get("/sluice/api/scanners", params={"window": DAY}).json()
    assert (scanners["opens_at"], scanners["closes_at"]) == ("07:00", "19:00")
    assert {row["scanner"]: row["exams"] for row in scanners["utilization"]}["DX1"] == 44
    assert sum(exam["scanner"] == "MR1" for exam in scanners["exams"]) == 5
    clocks = viewer.get("/sluice/api/clocks", params={"window": DAY}).json()
    assert clocks[0]["scanner"] == "CR1"
    assert clocks[-1]["offset_s"] is None


def test_predictions_page_by_page_and_by_filter(viewer: TestClient) -> None:
    def ask(**more: str | int) -> dict[str, list[dict[str, object]]]:
        answer = viewer.get("/sluice/api/predictions", params={"window": DAY, **more})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    seen: list[object] = []
    after = ""
    while True:
        page = ask(page_size=10, after=after)
        seen += [image["sop_instance_uid"] for image in page["images"]]
        if not page["next"]:
            break
        after = str(page["next"])
    assert len(seen) == len(set(seen)) == 27
    differing = ask(show="disagree")["images"]
    assert {(image["examined"], image["header_region"]) for image in differing} == {("LSPINE", "CHEST")}
    filters = ask(show="ivc", page_size=50)["images"]
    assert {image["ivc_label"] for image in filters} == {"present"}
    assert filters[0]["boxes"] == [{"box": [42, 60, 58, 88], "score": 0.93}]
    assert {image["label"] for image in ask(label="spine")["images"]} == {"spine"}


def test_quality_says_why_and_what_to_do(viewer: TestClient) -> None:
    quality = viewer.get("/sluice/api/quality", params={"window": DAY}).json()
    rules = {rule["rule"]: rule for rule in quality["rules"]}
    assert rules["study-incomplete"]["findings"] == 3
    assert all(rule["why"] and rule["advice"] for rule in rules.values())
    assert quality["has_data_docs"]
    rows = viewer.get("/sluice/api/quality/findings", params={"window": DAY, "rule": "study-incomplete"}).json()
    assert {row["observed"] for row in rows} == {"instances_missing: 4"}


def test_releases_and_what_stands_in_the_bucket(viewer: TestClient) -> None:
    newest, published = viewer.get("/sluice/api/releases", params={"window": DAY}).json()
    assert newest["published_at"] is None
    assert (published["objects"], published["members"], published["verified"]) == (12, 12, 12)
    first = viewer.get(f"/sluice/api/releases/{published['release_id']}/objects", params={"page_size": 8}).json()
    rest = viewer.get(
        f"/sluice/api/releases/{published['release_id']}/objects", params={"page_size": 8, "after": first["next"]}
    ).json()
    assert len(first["objects"]) + len(rest["objects"]) == 12
    assert rest["next"] is None


def test_no_answer_names_a_patient(viewer: TestClient) -> None:
    for path in ("funnel", "scanners", "clocks", "predictions", "quality", "releases"):
        text = viewer.get(f"/sluice/api/{path}", params={"window": DAY}).text
        for secret in ("Geheim", "PAT-", "ACC0", "1970-05-17"):
            assert secret not in text, path


def test_thumbnails_come_by_uid_and_nothing_else(viewer: TestClient) -> None:
    image = viewer.get("/sluice/api/predictions", params={"window": DAY}).json()["images"][0]
    answer = viewer.get(f"/sluice/images/{image['sop_instance_uid']}.png")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert answer.content.startswith(b"\x89PNG")
    assert "private" in answer.headers["cache-control"]
    for other in ("1.2.3", "..%2f..%2fkeys%2fsecret", "%00", "1.2.3'--"):
        assert viewer.get(f"/sluice/images/{other}.png").status_code == 404


def test_a_path_in_the_database_cannot_lead_outside(viewer: TestClient, home: Path) -> None:
    from fastapi import HTTPException

    from plugins.files import _inside

    (home / "keys").mkdir(exist_ok=True)
    (home / "keys" / "secret.png").write_bytes(b"secret")
    with pytest.raises(HTTPException):
        _inside(home / "canonical", "../keys/secret.png", frozenset({".png"}), {})
    (home / "canonical" / "link.png").symlink_to(home / "keys" / "secret.png")
    with pytest.raises(HTTPException):
        _inside(home / "canonical", "link.png", frozenset({".png"}), {})


def test_reports_are_served_and_nothing_beside_them(viewer: TestClient, home: Path) -> None:
    redirect = viewer.get("/sluice/quality", params={"window": DAY})
    assert redirect.status_code == 307
    docs = viewer.get(redirect.headers["location"])
    assert docs.status_code == 200
    assert "default-src 'none'" in docs.headers["content-security-policy"]
    assert "study-incomplete" in docs.text
    (home / "secret.html").write_text("secret")
    (home / "reports" / "run.sh").write_text("secret")
    (home / "reports" / "link.html").symlink_to(home / "secret.html")
    for trick in (
        "../secret.html",
        "..%2fsecret.html",
        "%2e%2e/secret.html",
        "quality/../../secret.html",
        f"%2f{home}/secret.html".replace("//", "/"),
        "run.sh",
        "link.html",
        "quality",
        "a" * 5000 + ".html",
        "x%00.html",
    ):
        answer = viewer.get(f"/sluice/reports/{trick}")
        assert answer.status_code == 404, trick
        assert "secret" not in answer.text
    outside = viewer.get("/sluice/quality", params={"window": "//elsewhere.example/x"})
    assert outside.headers["location"].startswith("/sluice/reports/quality/")


def test_the_api_says_which_window_a_run_is_about(viewer: TestClient) -> None:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunType

    with create_session() as session:
        run = DagRun(dag_id="sweep", run_id="manual__2026-10-27T02:00:00+00:00", run_type=DagRunType.MANUAL)
        run.partition_key = DAY
        session.add(run)
        asked_for = {"project": "radiographs", "name": "first", "csv": ""}
        cohort = DagRun(dag_id="sweep", run_id="cohort", run_type=DagRunType.MANUAL, conf=asked_for)
        session.add(cohort)
    try:
        answer = viewer.get("/sluice/api/run", params={"dag_id": "sweep", "run_id": "cohort"})
        assert answer.json() == {"window": "cohort/radiographs/first"}
        for asked in ("manual__2026-10-27T02:00:00+00:00", "manual__2026-10-27T02:00:00 00:00"):
            answer = viewer.get("/sluice/api/run", params={"dag_id": "sweep", "run_id": asked})
            assert answer.json() == {"window": DAY}
        assert viewer.get("/sluice/api/run", params={"dag_id": "sweep", "run_id": "no"}).status_code == 404
    finally:
        with create_session() as session:
            session.query(DagRun).filter(DagRun.dag_id == "sweep").delete()


def test_a_database_that_is_away_is_said_plainly(viewer: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SLUICE_DB", "postgresql://sluice:geheim@127.0.0.1:1/sluice")
    answer = viewer.get("/sluice/api/windows")
    assert answer.status_code == 503
    assert "cannot be reached" in answer.json()["detail"]
    assert "geheim" not in answer.text


def test_airflows_database_that_is_away_is_said_plainly(viewer: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.exc import OperationalError

    def away(*_: object) -> None:
        raise OperationalError("select password from connection", {}, Exception("geheim"))

    monkeypatch.setattr("airflow.models.connection.Connection.get_connection_from_secrets", away)
    answer = viewer.get("/sluice/api/windows")
    assert answer.status_code == 503
    assert "Airflow's own database does not answer" in answer.json()["detail"]
    assert "geheim" not in answer.text


def test_the_page_can_only_read(viewer: TestClient) -> None:
    import psycopg2

    from plugins.connections import database

    with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
        database().execute("delete from gap")


def test_without_the_connection_the_settings_hold(airflow: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch) -> None:
    from psycopg2.extensions import parse_dsn

    from plugins import connections
    from sluice.settings import Settings

    monkeypatch.delenv("AIRFLOW_CONN_SLUICE_DB", raising=False)
    monkeypatch.setattr(
        connections, "settings", lambda: Settings(database_url="postgresql://x@db.example/from_settings")
    )
    assert parse_dsn(connections.database().url)["dbname"] == "from_settings"
    monkeypatch.setenv(
        "AIRFLOW_CONN_SLUICE_DB",
        json.dumps(
            {"conn_type": "postgres", "host": "h", "login": "u", "password": "p@:/ ", "schema": "s",
             "extra": {"sslmode": "require", "cursor": "dictcursor"}}
        ),
    )  # fmt: skip
    found = parse_dsn(connections.database().url)
    assert (found["host"], found["password"], found["dbname"], found["sslmode"]) == ("h", "p@:/ ", "s", "require")
    assert "read_only" in found["options"]
