"""The page Anatomy behind Airflow's login: who may look, who may teach, and that no other site can."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from sluice.database import Database
from tests.anatomy.test_teaching import add, elements, regions, rows
from tests.plugins.conftest import logged_in

pytestmark = pytest.mark.airflow
OURS = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture(scope="module", autouse=True)
def _waiting(ledger: Database) -> None:
    add(ledger, ["7.1", "7.2"], elements(series="Quengelgips", station="GIPS"))


def post(client: TestClient, route: str, headers: dict[str, str] | None = None, **asked: Any) -> Any:
    return client.post(f"/sluice/api/anatomy/{route}", json=asked, headers=OURS if headers is None else headers)


def teach(client: TestClient, headers: dict[str, str] | None = None, **changes: Any) -> Any:
    return post(client, "teach", headers, **{"kind": "region", "said": "Quengelgips", "value": "ANKLE"} | changes)


def test_a_viewer_sees_what_waits_and_may_teach_nothing(viewer: TestClient, ledger: Database) -> None:
    choices = post(viewer, "choices", kind="region").json()
    assert (choices["may_teach"], len(choices["regions"]), choices["texts"]) == (False, 36, 1)
    assert (choices["stations"], choices["source_tags"]) == (["GIPS"], ["(0008,103E)"])
    (row,) = post(viewer, "pile", kind="region").json()["rows"]
    assert (row["said"], row["series"], row["modalities"]) == ("Quengelgips", 2, ["DX"])
    text = post(viewer, "text", kind="region", key=row["key"], source_tag=row["source_tag"]).json()
    assert (text["series"], text["studies"], text["pictures"]) == (2, 1, [])
    effect = post(viewer, "rehearse", kind="region", said="Quengelgips", value="ANKLE").json()
    assert effect == {"concerned": 2, "changed": 2, "estimated": False}
    assert teach(viewer).status_code == 403
    assert post(viewer, "withdraw", mapping_id=1).status_code == 403
    assert rows(ledger, "select from anatomy_mapping") == []


def test_who_may_start_runs_teaches_and_takes_back(client: TestClient, ledger: Database) -> None:
    user = logged_in(client, "user")
    answer = teach(user, why="plaster room").json()
    assert (answer["changed"], regions(ledger)["7.1"]) == (2, "ANKLE")
    assert post(user, "pile", kind="region").json()["rows"] == []
    (kept,) = post(user, "history").json()["rows"]
    assert (kept["added_by"], kept["why"], kept["decides"]) == ("vera", "plaster room", 2)
    assert post(user, "withdraw", mapping_id=answer["mapping_id"]).json()["changed"] == 2
    assert post(user, "withdraw", mapping_id=answer["mapping_id"]).status_code == 422
    assert "no region" in teach(user, value="KNIE").json()["detail"]
    for wrong in ({"kind": "organ"}, {"said": "x" * 300}, {"source_tag": "0018"}, {"more": 1}, {"laterality": "links"}):
        assert teach(user, **wrong).status_code == 422, wrong


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}])
def test_another_site_teaches_and_reads_nothing(client: TestClient, headers: dict[str, str]) -> None:
    admin = logged_in(client, "admin")
    assert teach(admin, headers).status_code == 403
    assert post(admin, "pile", headers, kind="region").status_code == 403


def test_without_a_login_there_is_nothing(client: TestClient) -> None:
    assert post(client, "pile", kind="region").status_code == 401
    assert teach(client).status_code == 401
    assert post(logged_in(client, None), "pile", kind="region").status_code == 403
    assert client.get("/sluice/anatomy").status_code == 401


def test_the_page_is_served_with_its_parts(viewer: TestClient) -> None:
    assert viewer.get("/sluice/anatomy").status_code == 200
    for asset in ("anatomy.js", "pick.js", "anatomy.css"):
        assert viewer.get(f"/sluice/static/{asset}").status_code == 200
