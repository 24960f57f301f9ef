"""Role by route by method, through Airflow's whole API application with our login: nobody gets what they must not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from sluice.database import Database
from sluice.release.requests.registry import ask
from sluice.settings import Settings, settings
from tests.pacs.sending import rows
from tests.plugins.conftest import logged_in

pytestmark = pytest.mark.airflow
OURS = {"Sec-Fetch-Site": "same-origin"}
ROLES = ("viewer", "researcher", "reader", "adjudicator", "approver", "engineer", "admin", None)
HOSPITAL = {"viewer", "approver", "engineer", "admin"}
ALL = HOSPITAL | {"researcher"}
ANNOTATORS = {"reader", "adjudicator", "engineer", "admin"}
ADJUDICATORS = ANNOTATORS - {"reader"}
FILMS = HOSPITAL | ANNOTATORS
EVERYBODY = ALL | FILMS
ASKERS = {"researcher", "engineer", "admin"}
ENGINEERS = {"engineer", "admin"}
RECALLERS = {"approver", "engineer", "admin"}

DECISION = {"rule": "r", "level": "instance", "object": "1.2", "decision": "accept", "reason": "x"}
FILM = {"task": "body_part", "sop_instance_uid": "1.2"}
HITL = "/api/v2/dags/export_release/dagRuns/x/taskInstances/y/-1/hitlDetails"  # answering a Required Action
# What each route is, and who gets anything else than a refusal. Whoever is refused gets 401 or 403, or of what is not
# theirs 404.
MATRIX: list[tuple[str, str, Any, set[str]]] = [
    ("GET", "/sluice/", None, EVERYBODY),
    ("GET", "/sluice/find", None, HOSPITAL),
    ("GET", "/sluice/pacs", None, HOSPITAL),
    ("GET", "/sluice/trend", None, HOSPITAL),
    ("GET", "/sluice/anatomy", None, HOSPITAL),
    ("GET", "/sluice/recalls", None, HOSPITAL),
    ("GET", "/sluice/cohorts", None, ALL),
    ("GET", "/sluice/requests", None, ALL),
    ("GET", "/sluice/annotate", None, FILMS),
    ("GET", "/sluice/static/page.css", None, EVERYBODY),
    ("GET", "/sluice/api/me", None, EVERYBODY),
    ("GET", "/sluice/images/1.2.3.png", None, set()),
    ("GET", "/sluice/api/windows", None, HOSPITAL),
    ("GET", "/sluice/api/releases?window=2026-10-26", None, HOSPITAL),
    ("GET", "/sluice/api/predictions?window=2026-10-26", None, HOSPITAL),
    ("POST", "/sluice/api/find", {"text": "1.2.3"}, HOSPITAL),
    ("GET", "/sluice/api/pacs", None, HOSPITAL),
    ("POST", "/sluice/api/pacs/orders", {"window": "2026-10-26"}, ENGINEERS),
    ("POST", "/sluice/api/anatomy/choices", {"kind": "region"}, HOSPITAL),
    ("POST", "/sluice/api/anatomy/teach", {"kind": "region", "said": "x", "value": "x"}, ENGINEERS),
    ("GET", "/sluice/api/trend", None, HOSPITAL),
    ("POST", "/sluice/api/quality/decisions", DECISION, ENGINEERS),
    ("GET", "/sluice/api/cohorts", None, ALL),
    ("GET", "/sluice/api/cohorts/language", None, ALL),
    ("GET", "/sluice/api/cohorts/lists", None, ALL),
    ("POST", "/sluice/api/cohorts/read", {"text": "patient_id: X"}, ALL),
    ("POST", "/sluice/api/cohorts", {"text": "modality: CT", "project": "open", "name": "x", "why": "y"}, ASKERS),
    ("GET", "/sluice/api/requests", None, ALL),
    ("POST", "/sluice/api/requests/estimate", {"project": "open", "name": "x", "filter": "modality: CT"}, ASKERS),
    ("POST", "/sluice/api/requests/estimate", {"project": "closed", "name": "x", "filter": "modality: CT"}, ENGINEERS),
    ("GET", "/sluice/api/requests/1", None, HOSPITAL),
    ("GET", "/sluice/api/requests/1/rows", None, HOSPITAL),
    ("GET", "/sluice/api/recalls", None, RECALLERS),
    ("POST", "/sluice/api/recalls/1/notice", {"recipient": "x"}, set()),
    ("POST", "/sluice/api/recalls/1/acknowledgements", {"recipient": "x", "note": "y"}, RECALLERS),
    ("GET", "/sluice/api/review", None, RECALLERS),
    ("GET", "/sluice/api/review/1", None, RECALLERS),
    ("GET", "/sluice/api/review/1/strings", None, RECALLERS),
    ("GET", "/sluice/api/review/1/pictures", None, RECALLERS),
    ("POST", "/sluice/api/review/1/decisions", {"path": "0008,103E", "decision": "keep"}, RECALLERS),
    ("POST", "/sluice/api/review/1/redo", None, RECALLERS),
    ("POST", "/sluice/api/review/1/approval", {"verdict": "approved", "digest": 64 * "0"}, {"approver", "admin"}),
    ("GET", "/sluice/api/models", None, HOSPITAL),
    ("POST", "/sluice/api/models/moves", {"model": "x", "to": "shadow", "reason": "y"}, ENGINEERS),
    ("POST", "/sluice/api/models/rollbacks", {"task": "body_part", "reason": "y"}, ENGINEERS),
    ("POST", "/sluice/api/filters/patients", {}, HOSPITAL),
    ("POST", "/sluice/api/filters/corrections", {"patient": "x", "kind": "confirmed"}, ENGINEERS),
    ("POST", "/sluice/api/annotation/queue", {"task": "body_part"}, FILMS),
    ("GET", "/sluice/api/annotation/pictures/1.2.png?task=body_part", None, FILMS),
    ("POST", "/sluice/api/annotation/answers", FILM | {"label": "x"}, ANNOTATORS),
    ("POST", "/sluice/api/annotation/accepted", FILM | {"model_id": "x"}, ANNOTATORS),
    ("POST", "/sluice/api/annotation/withdrawals", FILM, ANNOTATORS),
    ("POST", "/sluice/api/annotation/skips", FILM, ANNOTATORS),
    ("POST", "/sluice/api/annotation/releases", {"task": "body_part"}, ANNOTATORS),
    ("POST", "/sluice/api/annotation/mine", {"task": "body_part"}, FILMS),
    ("POST", "/sluice/api/annotation/neighbours", FILM, FILMS),
    ("POST", "/sluice/api/annotation/duplicates", {}, HOSPITAL),
    ("POST", "/sluice/api/annotation/differing", {"task": "body_part"}, ADJUDICATORS),
    ("POST", "/sluice/api/annotation/adjudications", FILM | {"label": "x"}, ADJUDICATORS),
    ("POST", "/sluice/api/annotation/agreement", {"task": "body_part"}, FILMS),
    ("POST", "/sluice/api/annotation/drift", {"task": "body_part"}, FILMS),
    ("POST", "/sluice/api/routing/rules", {}, HOSPITAL),
    ("POST", "/sluice/api/routing/reports", {"study": "1.2", "node": "x"}, ENGINEERS),
    ("GET", "/api/v2/connections", None, ENGINEERS),
    ("GET", "/api/v2/variables", None, ENGINEERS),
    ("GET", "/api/v2/plugins", None, EVERYBODY),
    ("GET", "/api/v2/dags", None, EVERYBODY),
    ("PATCH", "/api/v2/dags/backfill_cohort", {"is_paused": True}, ENGINEERS),
    ("POST", "/api/v2/backfills", {"dag_id": "sweep", "from_date": "2026-10-26", "to_date": "x"}, ENGINEERS),
    ("POST", "/api/v2/dags/recall/dagRuns", {"logical_date": "x"}, RECALLERS),
    ("POST", "/api/v2/dags/retrieve/dagRuns", {"logical_date": "x"}, ENGINEERS),
    ("POST", "/api/v2/dags/export_release/dagRuns", {"logical_date": "x"}, ENGINEERS),
    ("POST", "/api/v2/dags/backfill_cohort/dagRuns", {"logical_date": "x"}, ASKERS),
    ("POST", "/api/v2/dags/backfill_cohort/clearTaskInstances", {"dry_run": True}, ENGINEERS),
    ("DELETE", "/api/v2/dags/backfill_cohort/dagRuns/x", None, ENGINEERS),
    ("PATCH", "/api/v2/dags/backfill_cohort/dagRuns/x", {"state": "success"}, ENGINEERS),
    ("GET", "/api/v2/dags/backfill_cohort/dagRuns", None, ALL),
    ("GET", "/api/v2/dags/sweep/dagRuns", None, HOSPITAL),
    ("PATCH", HITL, {"chosen_options": ["Approve"]}, {"approver", "admin"}),
    ("PATCH", HITL.replace("export_release", "annotate"), {"chosen_options": ["x"]}, ANNOTATORS),
    ("PATCH", HITL.replace("export_release", "train_models"), {"chosen_options": ["x"]}, ADJUDICATORS),
    ("POST", "/api/v2/dags/annotate/dagRuns", {"logical_date": "x"}, ENGINEERS),
    ("PATCH", "/api/v2/dags/annotate", {"is_paused": True}, ENGINEERS),
]  # fmt: skip


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two projects, one of which names no researcher."""
    folder = tmp_path_factory.mktemp("projects")
    for name, more in (("open", "researchers: [vera]\nquota: {instances_per_request: 1000000}"), ("closed", "")):
        (folder / f"{name}.yaml").write_text(
            f"name: {name}\ntitle: T\nprofile: basic\nselection: {{modality: [CT]}}\nbucket: releases\n"
            f"pseudonym_prefix: {name.upper()}\n{more}\n"
        )
    return folder


@pytest.fixture(scope="module")
def ours(
    airflow: pytest.MonkeyPatch, ledger: Database, home: Path, projects: Path, dag_bag: Any
) -> Iterator[TestClient]:
    """Airflow's API application with the roles of Sluice."""
    from airflow import plugins_manager
    from airflow.api_fastapi.app import create_app, purge_cached_app

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_SLUICE_DB", ledger.url)
        patch.setenv("AIRFLOW__CORE__AUTH_MANAGER", "plugins.roles.SluiceAuthManager")
        patch.setenv("SLUICE_PROJECTS", str(projects))
        patch.setenv("SLUICE_HOME", str(home))
        settings.cache_clear()
        site = Settings()
        for module in ("plugins.api", "plugins.files"):
            patch.setattr(f"{module}.settings", lambda: site)
        plugins_manager._get_plugins.cache_clear()
        purge_cached_app()
        ask(ledger, {"project": "closed", "name": "t1", "filter": "modality: CT"}, "otto", is_engineer=True)
        yield TestClient(create_app("core"), follow_redirects=False, raise_server_exceptions=False)
        purge_cached_app()
    settings.cache_clear()


def as_role(client: TestClient, role: str | None) -> TestClient:
    return TestClient(client.app, follow_redirects=False) if role is None else logged_in(client, role)


@pytest.mark.parametrize("role", ROLES)
def test_each_role_gets_what_the_table_says_and_nothing_else(ours: TestClient, role: str | None) -> None:
    client = as_role(ours, role)
    wrong = []
    for method, path, sent, who in MATRIX:
        body = {} if sent is None else {"content": json.dumps(sent)}
        headers = OURS | {"Content-Type": "application/json"}
        status = client.request(method, path, headers=headers, **body).status_code
        refused = status in (401, 403) or (status == 404 and role not in who)
        if role is None:
            refused = status == 401
        elif path == "/sluice/api/requests/estimate" and status == 422:
            refused = True  # says that they are not among the researchers
        if refused == (role in who):
            wrong.append((method, path, status))
    assert wrong == []


def test_an_unknown_role_may_nothing_and_old_names_hold(ours: TestClient) -> None:
    assert logged_in(ours, "emperor").get("/sluice/api/cohorts").status_code == 403
    assert logged_in(ours, "user").get("/sluice/api/windows").status_code == 403
    assert logged_in(ours, "user").get("/sluice/api/cohorts").status_code == 200
    assert logged_in(ours, "op").get("/sluice/api/windows").status_code == 200


def test_every_route_of_the_pages_stands_in_the_table(ours: TestClient) -> None:
    """A route that somebody adds has to be thought about: it is named here, or its beginning is."""
    from plugins import app

    known = {path.split("?")[0].removeprefix("/sluice") for _, path, _, _ in MATRIX}
    roots = {"/".join(path.split("/")[:4]) for path in known if path.startswith("/api/")}
    # one dependency for all; those that write say themselves who may
    roots |= {"/api/anatomy", "/api/models", "/api/filters", "/api/routing", "/api/annotation"}
    for route in app.build([]).routes:
        path = route.path
        if path.startswith("/api/"):
            assert any(path.startswith(root) for root in roots) or path in OF_THE_HOSPITAL, path


# routes of `plugins.api`, `plugins.trend` and `plugins.find`, all behind the same dependency
OF_THE_HOSPITAL = {
    "/api/funnel", "/api/gap", "/api/scanners", "/api/clocks", "/api/quality", "/api/quality/findings", "/api/run",
    "/api/find/rows", "/api/trend/findings", "/api/trend/findings.csv", "/api/trend/scanners",
}  # fmt: skip


def test_a_researcher_sees_own_projects_only(ours: TestClient, ledger: Database) -> None:
    vera = logged_in(ours, "researcher")
    assert vera.get("/sluice/api/cohorts/language").json()["projects"] == ["open"]
    assert vera.get("/sluice/api/requests").json()["requests"] == []
    seen = logged_in(ours, "engineer").get("/sluice/api/requests").json()["requests"]
    assert [one["project"] for one in seen] == ["closed"]
    assert vera.get("/sluice/").headers["location"].endswith("/requests")
    assert vera.get("/sluice/api/me").json()["pages"] == ["cohorts", "requests"]
    closed = {"text": "modality: CT", "project": "closed", "name": "x", "why": "y"}
    assert vera.post("/sluice/api/cohorts", json=closed, headers=OURS).status_code == 404
    query = "project=closed&name=x"
    sent = {"content": b"accession\nA1\n", "headers": OURS | {"X-File-Name": "a.csv"}}
    sent["headers"]["Content-Type"] = "application/octet-stream"  # type: ignore[index]
    assert vera.post(f"/sluice/api/cohorts/lists?{query}", **sent).status_code == 404


def test_a_reader_comes_to_the_films_and_sees_no_other_page(ours: TestClient) -> None:
    reader = logged_in(ours, "reader")
    assert reader.get("/sluice/").headers["location"].endswith("/annotate")
    assert reader.get("/sluice/api/me").json()["pages"] == ["annotate"]
    dags = reader.get("/api/v2/dags").json()["dags"]
    assert {dag["dag_id"] for dag in dags} <= {"annotate"}
    words = reader.get("/sluice/find", headers={"Accept": "text/html"}).text
    assert "those who may read the DAG sweep" in words
    researcher = logged_in(ours, "researcher").get("/sluice/annotate", headers={"Accept": "text/html"})
    assert (researcher.status_code, "the DAG annotate" in researcher.text) == (403, True)
    refused = logged_in(ours, "viewer").post("/sluice/api/annotation/answers", json=FILM | {"label": "x"}, headers=OURS)
    assert "role reader" in refused.json()["detail"]


def start(client: TestClient, **conf: Any) -> Any:
    return client.post("/api/v2/dags/backfill_cohort/dagRuns", json={"logical_date": None, "conf": conf})


def test_no_list_and_no_filter_of_a_form_reaches_airflow(ours: TestClient, ledger: Database) -> None:
    vera = logged_in(ours, "researcher")
    listed = start(vera, project="open", name="t9", csv="patient_id,study_date\nP-4711,2026-10-26\n")
    filtered = start(vera, project="open", name="t8", filter="modality: CT")
    for answer in (listed, filtered):
        # Airflow itself refuses it, behind the door: it knows no such DAG, or one that tests before left half there.
        assert answer.status_code in (400, 404)
        assert "4711" not in answer.text
    kept = {row["name"]: row for row in rows(ledger, "select * from cohort_request where project = 'open'")}
    assert kept["t9"]["asked_by"] == "vera"
    assert kept["t8"]["expression"] == {"modality": {"is": "CT"}}
    assert rows(ledger, "select patient_id from cohort_list_row")[0]["patient_id"] == "P-4711"


@pytest.mark.parametrize(
    ("conf", "status", "words"),
    [
        ({"project": "closed", "name": "t1", "filter": "modality: CT"}, 422, "not among the researchers"),
        ({"project": "closed", "name": "t1", "request": 1}, 422, "not among the researchers"),
        ({"project": "open", "name": "t1", "request": 1}, 422, "no such request"),
        ({"project": "open", "name": "t1", "request": "1"}, 422, "no such request"),
        ({"project": "open", "name": "t1", "filter": "Larkspur: 3"}, 422, "cannot be read"),
        ({"project": "open", "name": "t1", "csv": ["P-4711"]}, 422, "csv is no text"),
        ({"project": ["open"], "name": "t1"}, 422, "needs a project"),
        ({"name": "t1"}, 422, "needs a project"),
    ],
)
def test_the_door_answers_what_is_wrong_at_once(ours: TestClient, conf: Any, status: int, words: str) -> None:
    answer = start(logged_in(ours, "researcher"), **conf)
    assert answer.status_code == status
    assert words in answer.json()["detail"]
    assert "Larkspur" not in answer.text
    assert "4711" not in answer.text


def test_whoever_may_not_start_it_leaves_nothing_behind(ours: TestClient, ledger: Database) -> None:
    before = rows(ledger, "select count(*) from cohort_request")
    for role in ("viewer", "approver", None):
        assert start(as_role(ours, role), project="open", name="t7", csv="accession\nA1\n").status_code in (401, 403)
    assert rows(ledger, "select count(*) from cohort_request") == before
