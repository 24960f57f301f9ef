"""The story of one study: what a person types stays out of every URL, and the answer names no patient."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.ledger_rows import ROOT

pytestmark = pytest.mark.airflow


def found(viewer: TestClient, text: str, **more: str) -> dict[str, Any]:
    answer = viewer.post("/sluice/api/find", json={"text": text, **more})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (f" {ROOT}.2001 ", "study"),
        (f"{ROOT}.2001.1", "series"),
        (f"{ROOT}.2001.1.3", "instance"),
        ("ACC02001", "accession"),
        ("PAT-2001", "patient"),
    ],
)
def test_it_is_found_by_whatever_a_person_has(viewer: TestClient, text: str, kind: str) -> None:
    story = found(viewer, text)
    assert story["kind"] == kind
    assert [study["study_instance_uid"] for study in story["studies"]] == [f"{ROOT}.2001"]
    (reason,) = story["reasons"]
    assert reason["reason_code"] == "failed-suboperation"
    assert reason["advice"]
    assert {event["event"] for event in story["timeline"]} >= {"expected", "received", "header read"}
    assert story["totals"]["missing"] == (1 if kind == "instance" else 4)


def test_rows_come_page_by_page(viewer: TestClient) -> None:
    after, seen = "", []
    while after is not None:
        answer = viewer.post(
            "/sluice/api/find/rows",
            json={"kind": "study", "text": f"{ROOT}.2001", "level": "instances", "after": after, "page_size": 2},
        ).json()
        seen += answer["rows"]
        after = answer["next"]
    assert [bool(row["received_at"]) for row in seen] == [True, False, False, False, False]
    assert len({row["sop_instance_uid"] for row in seen}) == 5
    assert seen[0]["sha256"]
    assert seen[0]["calling_ae"] == "HOSPITAL_PACS"


def test_what_is_not_known_is_said_so(viewer: TestClient) -> None:
    assert found(viewer, "1.2.3") == {"kind": None}
    assert found(viewer, "nobody' or '1'='1") == {"kind": None}
    assert viewer.post("/sluice/api/find", json={"text": ""}).status_code == 422
    assert viewer.post("/sluice/api/find", json={"text": "x" * 300}).status_code == 422


def test_no_answer_names_the_patient_that_was_asked_for(viewer: TestClient) -> None:
    text = viewer.post("/sluice/api/find", json={"text": "PAT-2001"}).text
    for secret in ("Geheim", "PAT-", "ACC0", "1970-05-17"):
        assert secret not in text


def test_only_our_own_page_may_ask(viewer: TestClient) -> None:
    asked = {"text": "PAT-2001"}
    assert viewer.get("/sluice/api/find", params=asked).status_code == 405
    assert viewer.post("/sluice/api/find", json=asked, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert viewer.post("/sluice/api/find", json=asked, headers={"Origin": "http://evil.example"}).status_code == 403
    assert viewer.post("/sluice/api/find", data=asked).status_code == 415
