"""The page Quality trend behind Airflow's login: what it counts, who may decide, what is exported."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from fastapi.testclient import TestClient

from sluice.database import Database
from tests.pacs.sending import rows
from tests.plugins.conftest import logged_in

pytestmark = pytest.mark.airflow
DAY = "2026-10-26"
OURS = {"Sec-Fetch-Site": "same-origin"}
RULE = "study-incomplete"


def decide(client: TestClient, headers: dict[str, str] | None = None, **changes: Any) -> Any:
    asked = {"rule": RULE, "level": "study", "decision": "accept", "reason": "it was never sent"} | changes
    return client.post("/sluice/api/quality/decisions", json=asked, headers=OURS if headers is None else headers)


def found(client: TestClient, **asked: Any) -> dict[str, Any]:
    key = {"rule": RULE, "since": DAY, "until": DAY}
    answer = client.get("/sluice/api/trend/findings", params=key | asked)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_rules_are_counted_by_day_and_scanner(viewer: TestClient) -> None:
    trend = viewer.get("/sluice/api/trend", params={"days": 7}).json()
    assert (trend["since"], trend["until"], trend["may_decide"]) == ("2026-10-20", DAY, False)
    assert set(trend["instances"]) == {DAY}
    assert {"CT1", "MR1", "DX1"} <= set(trend["scanners"])
    (rule,) = [rule for rule in trend["rules"] if rule["rule"] == RULE]
    assert (rule["days"], rule["severity"], rule["level"]) == ({DAY: 3}, "warn", "study")
    assert rule["why"]
    assert rule["advice"]
    elsewhere = viewer.get("/sluice/api/trend", params={"scanner": "MR1"}).json()
    assert RULE not in {rule["rule"] for rule in elsewhere["rules"]}
    (scanner,) = viewer.get("/sluice/api/trend/scanners", params={"rule": RULE, "until": DAY}).json()
    assert (scanner["scanner"], scanner["day"], scanner["findings"]) == ("CT1", DAY, 3)
    assert scanner["objects"] >= 3
    before = viewer.get("/sluice/api/trend", params={"until": "2020-01-01"}).json()
    assert (before["rules"], before["instances"]) == ([], {})


def test_findings_come_a_page_at_a_time_and_as_csv(viewer: TestClient) -> None:
    first = found(viewer, page_size=2)
    rest = found(viewer, page_size=2, after=first["next"])
    assert rest["next"] is None
    objects = [row["object"] for row in first["findings"] + rest["findings"]]
    assert len(objects) == len(set(objects)) == 3
    assert found(viewer, scanner="MR1")["findings"] == []
    answer = viewer.get("/sluice/api/trend/findings.csv", params={"rule": RULE, "since": DAY, "until": DAY})
    assert answer.headers["content-type"].startswith("text/csv")
    assert f"{RULE}-{DAY}-{DAY}.csv" in answer.headers["content-disposition"]
    exported = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["study_instance_uid"] for row in exported] == objects
    assert {row["observed"] for row in exported} == {"instances_missing: 4"}


def test_no_cell_of_the_export_is_a_formula(viewer: TestClient, ledger: Database) -> None:
    ledger.execute(
        "insert into quality_finding (window_key, rule, severity, level, study_instance_uid, observed) "
        "values (%s, 'odd', 'warn', 'study', '1.2', '=cmd(1)')",
        (DAY,),
    )
    answer = viewer.get("/sluice/api/trend/findings.csv", params={"rule": "odd", "since": DAY, "until": DAY})
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert row["observed"] == "'=cmd(1)"


def test_who_may_start_checks_decides_and_every_decision_is_kept(client: TestClient, ledger: Database) -> None:
    user = logged_in(client, "user")
    study = found(user)["findings"][0]["object"]
    assert user.get("/sluice/api/trend").json()["may_decide"] is True
    assert decide(logged_in(client, "viewer"), object=study).status_code == 403
    assert decide(user, object=study, decision="keep-out", reason="wait for the rest").json()["decided_by"] == "vera"
    assert decide(user, object=study).json()["decision"] == "accept"
    assert found(user)["findings"][0]["reason"] == "it was never sent"
    kept = rows(ledger, "select decision, decided_by from quality_decision order by decision_id")
    assert [row["decision"] for row in kept] == ["keep-out", "accept"]
    for wrong in ({"object": "1.2.3"}, {"object": study, "reason": " "}, {"object": study, "decision": "delete"}):
        assert decide(user, **wrong).status_code == 422, wrong
    assert decide(user, {"Sec-Fetch-Site": "cross-site"}, object=study).status_code == 403
    assert decide(logged_in(client, None), object=study).status_code == 403
    assert len(rows(ledger, "select from quality_decision")) == 2


def test_the_page_and_the_documents_of_all_windows_are_served(viewer: TestClient) -> None:
    assert "default-src 'self'" in viewer.get("/sluice/trend").headers["content-security-policy"]
    for asset in ("trend.js", "trend.css"):
        assert viewer.get(f"/sluice/static/{asset}").status_code == 200
    redirect = viewer.get("/sluice/quality")
    assert redirect.headers["location"] == "/sluice/reports/quality/index.html"
    overview = viewer.get(redirect.headers["location"])
    assert f'href="{DAY}/index.html"' in overview.text
