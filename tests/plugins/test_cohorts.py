"""The page Cohorts behind Airflow's login: who may filter by what, see members, and freeze."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from sluice.cohorts.freeze import freeze
from sluice.cohorts.language import parse
from sluice.database import Database
from sluice.stack.postgres import EmbeddedPostgres
from tests.cohorts.small import SmallHospital
from tests.conftest import temporary_database
from tests.pacs.sending import rows
from tests.plugins.conftest import logged_in

pytestmark = pytest.mark.airflow
URL = "/sluice/api/cohorts"
OURS = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture(scope="module")
def ledger(postgres: EmbeddedPostgres) -> Iterator[Database]:
    with temporary_database(postgres) as database:
        SmallHospital(database, seed=3, patients=12)
        yield database


@pytest.fixture
def user(client: TestClient) -> TestClient:
    return logged_in(client, "user")


def tell(client: TestClient, path: str, **body: Any) -> Any:
    return client.post(f"{URL}{path}", json=body, headers=OURS)


def test_the_language_names_sensitive_fields_only_to_who_may_ask(user: TestClient, viewer: TestClient) -> None:
    full, less = user.get(f"{URL}/language").json(), viewer.get(f"{URL}/language").json()
    names = {field["name"] for field in full["fields"]}
    assert {"modality", "age", "patient_id"} <= names
    assert names - {field["name"] for field in less["fields"]} >= {"patient_id", "accession_number", "study_uid"}
    assert (full["may_ask"], less["may_ask"]) == (True, False)
    assert "min" in full["operators"]["number"]
    assert viewer.get(f"{URL}/values/modality").json()[0] == "DX"
    for name in ("patient_id", "study_description", "series_description", "nonsense"):
        assert viewer.get(f"{URL}/values/{name}").status_code == 404


def test_a_filter_is_read_and_what_is_wrong_is_named_by_place(user: TestClient, viewer: TestClient) -> None:
    read = tell(user, "/read", text="modality: [MR, CT]").json()
    assert read["expression"] == {"modality": {"is": ["CT", "MR"]}}
    assert read["words"] == "Instances where modality is CT or MR."
    wrong = tell(user, "/read", text="all: [{modality: {contians: C}}, {agee: 3}]").json()["faults"]
    assert [fault["place"] for fault in wrong] == ["all[0].modality.contians", "all[1].agee"]
    assert tell(user, "/read", text="patient_id: P1").json()["faults"] == []
    assert "patient_id" in tell(viewer, "/read", text="patient_id: P1").json()["faults"][0]["message"]
    assert tell(viewer, "/preview", text="patient_id: P1").status_code == 422


def test_a_preview_moves_nothing_and_counts(viewer: TestClient, ledger: Database) -> None:
    seen = tell(viewer, "/preview", text="modality: CT").json()
    (count,) = rows(
        ledger, "select count(*) as n from instance join series using (series_instance_uid) where modality = 'CT'"
    )
    assert seen["here"]["instances"] == count["n"]
    assert [group["value"] for group in seen["by"]["modality"]] == ["CT"]


def test_a_cohort_is_frozen_shown_and_compared(user: TestClient, viewer: TestClient, ledger: Database) -> None:
    wish = {"project": "radiographs", "name": "ct", "why": "a trial"}
    first = tell(user, "", text="modality: CT", **wish).json()
    assert (first["version"], first["is_new"]) == (1, True)
    assert tell(user, "", text="{modality: {is: CT}}", **wish).json()["is_new"] is False
    second = tell(user, "", text="modality: [CT, MR]", **wish).json()
    (shown,) = viewer.get(URL).json()
    assert (shown["version"], shown["words"], shown["why"]) == (2, "Instances where modality is CT or MR.", "a trial")
    versions = viewer.get(f"{URL}/{first['cohort_id']}/versions").json()
    assert [row["version"] for row in versions] == [2, 1]
    asked = {"older": first["version_id"], "newer": second["version_id"]}
    told = user.get(f"{URL}/difference", params=asked).json()
    assert (told["added"], told["gone"]) == (second["instances"] - first["instances"], 0)
    path = f"/versions/{second['version_id']}/studies"
    page = tell(user, path, page_size=2).json()
    rest = tell(user, path, after=page["next"], page_size=500).json()
    assert len({row["study_instance_uid"] for row in page["rows"] + rest["rows"]}) == second["studies"]
    assert tell(user, path, after=["a", "b"]).status_code == 422
    assert tell(viewer, path).status_code == 403
    assert viewer.get(f"{URL}/difference", params=asked).status_code == 403
    assert tell(viewer, "", text="modality: CT", **wish).status_code == 403


def test_a_filter_by_identifiers_is_not_frozen_for_a_project_that_may_not(user: TestClient) -> None:
    wish = {"project": "radiographs", "name": "one", "why": "x"}
    refused = tell(user, "", text="patient_id: P1", **wish)
    assert "may_use_identifiers" in refused.json()["detail"]
    assert tell(user, "", text="modality: CT", **(wish | {"project": "nobody"})).status_code == 422
    for wrong in ({"name": "../x"}, {"why": ""}):
        assert tell(user, "", text="modality: CT", **(wish | wrong)).status_code == 422


def test_a_frozen_filter_by_identifiers_gives_who_may_only_look_nothing_to_try_guesses_against(
    user: TestClient, viewer: TestClient, ledger: Database
) -> None:
    one = freeze(ledger, "named", parse({"patient_id": "PAT-1"}), "vera", "for Ms. Example")
    shown = viewer.get(f"{URL}/{one.cohort_id}/versions").json()
    assert (shown[0]["instances"], shown[0]["digest"], shown[0]["member_digest"]) == (one.instances, "", "")
    told = str(shown) + str([row for row in viewer.get(URL).json() if row["name"] == "named"])
    assert not any(word in told for word in ("PAT-1", "Example", one.digest))
    assert user.get(f"{URL}/{one.cohort_id}/versions").json()[0]["digest"] == one.digest


def test_another_site_freezes_nothing(user: TestClient) -> None:
    sent = {"text": "{}", "project": "radiographs", "name": "evil", "why": "x"}
    assert user.post(URL, json=sent, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert (
        user.post(f"{URL}/preview", json={"text": "{}"}, headers={"Origin": "https://evil.example"}).status_code == 403
    )


def test_nobody_without_a_login(client: TestClient) -> None:
    assert client.get(f"{URL}/language").status_code == 401
    assert tell(client, "/preview", text="{}").status_code == 401
