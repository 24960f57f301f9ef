"""Lists on the page Cohorts behind Airflow's login: who may upload and see rows, and that no other site can."""

from __future__ import annotations

import csv
import io
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from sluice.cohorts.lists import lists
from sluice.database import Database
from tests.cohorts.workbooks import xlsx
from tests.plugins.conftest import logged_in

pytestmark = pytest.mark.airflow
URL = "/sluice/api/cohorts/lists"
OURS = {"Sec-Fetch-Site": "same-origin"}
CSV = b"accession;mrn;date\nACC01000;;\n;PAT-1001;26.10.2026\nNEVER;;\n*;;\n+1;;\n"


def upload(client: TestClient, content: bytes = CSV, headers: dict[str, str] | None = None, **asked: Any) -> Any:
    sent = {"project": "radiographs", "name": "thorax"} | asked
    kind = {"Content-Type": "application/octet-stream", "X-File-Name": quote("Liste für Müller.csv")}
    return client.post(URL, params=sent, content=content, headers=kind | (OURS if headers is None else headers))


@pytest.fixture
def user(client: TestClient) -> TestClient:
    return logged_in(client, "user")


def test_an_uploaded_list_is_answered_shown_downloaded_and_forgotten(user: TestClient, ledger: Database) -> None:
    kept = upload(user).json()
    assert kept["answers"] == {"found": 2, "not-yet": 2, "refused": 1}
    assert (kept["file_name"], kept["uploaded_by"], kept["rows"]) == ("Liste für Müller.csv", "vera", 5)
    assert kept["columns"] == {"accession": ["accession"], "patient_id": ["mrn"], "date": ["date"]}
    (shown,) = user.get(URL).json()
    assert shown["list_id"] == kept["list_id"]
    one = f"{URL}/{kept['list_id']}"
    page = user.post(f"{one}/rows", json={"answer": "found", "page_size": 1}, headers=OURS).json()
    assert (page["rows"][0]["accession"], page["next"]) == ("ACC01000", 2)
    rest = user.post(f"{one}/rows", json={"answer": "found", "after": 2}, headers=OURS).json()
    assert [row["patient_id"] for row in rest["rows"]] == ["PAT-1001"]
    file = user.get(f"{one}/answers.csv")
    assert "attachment" in file.headers["content-disposition"]
    table = list(csv.DictReader(io.StringIO(file.content.decode("utf-8-sig"))))
    assert [row["answer"] for row in table] == ["found", "found", "not-yet", "refused", "not-yet"]
    assert table[4]["accession_number"] == "'+1"
    assert user.post(f"{one}/answers", json={}, headers=OURS).json()["answers"] == kept["answers"]
    assert user.request("DELETE", one, json={}, headers=OURS).status_code == 200
    assert lists(ledger) == []
    assert user.get(f"{one}/answers.csv").status_code == 404


def test_who_may_only_look_sees_counts_and_no_rows(user: TestClient, viewer: TestClient, ledger: Database) -> None:
    kept = upload(user).json()
    (shown,) = viewer.get(URL).json()
    assert (shown["answers"], shown["file_name"], shown["sha256"]) == (kept["answers"], "", "")
    one = f"{URL}/{kept['list_id']}"
    assert viewer.post(f"{one}/rows", json={}, headers=OURS).status_code == 403
    assert viewer.get(f"{one}/answers.csv").status_code == 403
    assert viewer.post(f"{one}/answers", json={}, headers=OURS).status_code == 403
    assert viewer.request("DELETE", one, json={}, headers=OURS).status_code == 403
    assert upload(viewer, name="other").status_code == 403
    assert len(lists(ledger)) == 1


def test_a_workbook_is_taken_and_a_bad_file_is_one_message(user: TestClient) -> None:
    assert upload(user, xlsx({"S": [["accession"], ["ACC01000"], [17.0]]}), name="book").json()["rows"] == 2
    for content, words in (
        (b"PK\x03\x04", "damaged"),
        (b"colour\nred\n", "names no column"),
        (b"accession\n", "no rows"),
        (b"\xef\xbb\xbf \r\n", "is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "holds no text"),
    ):
        refused = upload(user, content, name="bad")
        assert refused.status_code == 422
        assert words in refused.json()["detail"]
    again = upload(user, b"accession\nOTHER\n", name="book")
    assert "Replace it" in again.json()["detail"]
    assert upload(user, b"accession\nOTHER\n", name="book", replace="true").json()["rows"] == 1
    for wrong in ({"name": "../x"}, {"name": "a b"}):
        assert upload(user, **wrong).status_code == 422
    assert upload(user, project="nobody", name="x").status_code == 404


def test_a_file_that_is_too_large_is_not_taken(user: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plugins.cohort_lists.MOST_BYTES", 10)
    assert upload(user, name="large").status_code == 413


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, OURS | {"Content-Type": "text/plain"}],
)
def test_another_site_uploads_nothing(client: TestClient, headers: dict[str, str]) -> None:
    assert upload(logged_in(client, "admin"), headers=headers, name="evil").status_code in {403, 415}


def test_nobody_without_a_login(client: TestClient) -> None:
    assert client.get(URL).status_code == 401
    assert upload(client).status_code == 401
    assert client.get(f"{URL}/1/answers.csv").status_code == 401
