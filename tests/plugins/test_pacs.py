"""The page PACS behind Airflow's login: who may look, who may order, and that no other site can."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from sluice.database import Database
from sluice.pacs.fetch.attempts import plan_attempt, unplan_attempt
from sluice.pacs.governor import Governor, Priority, Use
from sluice.pacs.governor.orders import retrieval_state
from sluice.pacs.governor.policy import Limits, Policy, ensure_policy
from tests.pacs.sending import rows
from tests.plugins.conftest import logged_in

pytestmark = pytest.mark.airflow
DAY = "2026-10-26"
OURS = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture(scope="module", autouse=True)
def _governed(ledger: Database) -> None:
    ensure_policy(ledger, "pacs_main", 2, "Europe/Berlin")


def order(client: TestClient, headers: dict[str, str] | None = None, **asked: Any) -> Any:
    sent = {"window": DAY} | asked
    return client.post("/sluice/api/pacs/orders", json=sent, headers=OURS if headers is None else headers)


def change(client: TestClient, policy: Any, pacs: str = "pacs_main", headers: dict[str, str] | None = None) -> Any:
    sent = {"pacs": pacs, "policy": policy}
    return client.put("/sluice/api/pacs/policy", json=sent, headers=OURS if headers is None else headers)


NIGHTS = Policy("Europe/Berlin", ("fffffff............fffff",) * 7, Limits(1, 1e6), Limits(3)).as_dict()


def test_a_viewer_sees_who_uses_the_pacs_and_may_change_nothing(viewer: TestClient, ledger: Database) -> None:
    use = Use("retrieve", "retrieve studies, part 1 of 2", Priority.URGENT, DAY, "retrieve", "run/1")
    with Governor(ledger, "pacs_main", use).association():
        shown = viewer.get("/sluice/api/pacs").json()
    (one,) = shown["pacs"]
    (holder,) = one["holders"]
    assert (holder["who"], holder["priority"], holder["run_id"]) == (use.who, "urgent", "run/1")
    assert (one["allowed"], one["bears"], one["hours"], one["waiters"]) == (2, 2, "full", [])
    assert (shown["may_order"], one["may_change"]) == (False, False)
    (retrieval,) = shown["retrievals"]
    assert (retrieval["window_key"], retrieval["state"], retrieval["expected"], retrieval["received"]) == (
        DAY, "active", 206, 194,
    )  # fmt: skip
    assert retrieval["is_under_way"] is True
    (ended,) = viewer.get("/sluice/api/pacs").json()["retrievals"]
    assert ended["is_under_way"] is False
    plan_attempt(ledger, DAY, "pacs_main", ["1.2"], datetime.now(UTC))
    (waiting,) = viewer.get("/sluice/api/pacs").json()["retrievals"]
    assert waiting["is_under_way"] is True
    ledger.execute("update pacs_use set ended_at = now() - interval '2 hours'")
    plan_attempt(ledger, DAY, "pacs_main", ["1.2"], datetime.now(UTC) + timedelta(hours=8))
    (until_night,) = viewer.get("/sluice/api/pacs").json()["retrievals"]
    assert until_night["is_under_way"] is True, "it can be paused while it waits for the hours of the PACS"
    plan_attempt(ledger, DAY, "pacs_main", ["1.2"], datetime.now(UTC) - timedelta(hours=2))
    assert viewer.get("/sluice/api/pacs").json()["retrievals"] == [], "whoever planned that is gone"
    unplan_attempt(ledger, DAY, ["1.2"])
    assert order(viewer, state="paused").status_code == 403
    assert change(viewer, NIGHTS).status_code == 403
    assert rows(ledger, "select from window_order") == []
    assert len(rows(ledger, "select from pacs_policy_change")) == 1


def test_who_may_start_runs_may_order_and_every_order_is_kept(client: TestClient, ledger: Database) -> None:
    user = logged_in(client, "user")
    assert user.get("/sluice/api/pacs").json()["may_order"] is True
    assert order(user, state="paused").json() == {"state": "paused", "priority": None}
    assert order(user, priority="backfill").json() == {"state": "paused", "priority": "backfill"}
    assert order(user, state="active").json() == {"state": "active", "priority": "backfill"}
    kept = rows(ledger, "select state, priority, ordered_by from window_order order by order_id")
    assert [(row["state"], row["priority"]) for row in kept] == [("paused", None), ("paused", 2), ("active", 2)]
    assert {row["ordered_by"] for row in kept} == {"vera"}
    assert order(user, window="1999-01-01", state="paused").status_code == 404
    for wrong in ({"state": "stopped"}, {"priority": "now"}, {"window": 5}, {"more": 1}, {"window": "x" * 300}):
        assert order(user, **wrong).status_code == 422, wrong


def test_only_who_may_edit_the_connection_changes_the_policy(client: TestClient, ledger: Database) -> None:
    assert change(logged_in(client, "user"), NIGHTS).status_code == 403
    op = logged_in(client, "op")
    assert change(op, NIGHTS).json()["policy"] == NIGHTS
    newest, first = op.get("/sluice/api/pacs").json()["pacs"][0]["changes"]
    assert (newest["changed_by"], newest["policy"], newest["before"]) == ("vera", NIGHTS, first["policy"])
    assert first["before"] is None
    refused = change(op, NIGHTS | {"week": ["x" * 24] * 7})
    assert refused.status_code == 422
    assert "hours of Mon" in refused.json()["detail"]
    assert change(op, NIGHTS, pacs="elsewhere").status_code == 404
    assert change(op, "fast").status_code == 422


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://testserver"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://testserver.evil.example"},
    ],
)
def test_another_site_can_order_nothing(client: TestClient, ledger: Database, headers: dict[str, str]) -> None:
    admin = logged_in(client, "admin")
    before = retrieval_state(ledger, DAY)
    assert order(admin, headers, state="cancelled").status_code == 403
    assert change(admin, NIGHTS, headers=headers).status_code == 403
    assert retrieval_state(ledger, DAY) == before


def test_our_own_page_and_scripts_with_a_token_can(client: TestClient) -> None:
    admin = logged_in(client, "admin")
    for headers in ({"Origin": "http://testserver"}, {"Origin": "http://localhost:8080"}, {}):
        assert order(admin, headers, state="active").status_code == 200, headers


def test_a_cookie_alone_without_an_origin_is_not_enough(client: TestClient) -> None:
    token = logged_in(client, "admin").headers["Authorization"].removeprefix("Bearer ")
    cookie = TestClient(client.app, cookies={"_token": token}, follow_redirects=False)
    assert cookie.get("/sluice/api/pacs").status_code == 200
    assert order(cookie, {}, state="paused").status_code == 403
    assert order(cookie, state="active").status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_what_a_form_can_send_is_not_taken(client: TestClient, kind: str) -> None:
    admin = logged_in(client, "admin")
    sent = f'{{"window": "{DAY}", "state": "cancelled"}}'
    answer = admin.post("/sluice/api/pacs/orders", content=sent, headers=OURS | {"Content-Type": kind})
    assert answer.status_code in {415, 422}


def test_nobody_without_a_login_orders_or_looks(client: TestClient) -> None:
    assert client.get("/sluice/api/pacs").status_code == 401
    assert order(client, state="paused").status_code == 401
    assert change(client, NIGHTS).status_code == 401
    assert order(logged_in(client, None), state="paused").status_code == 403


def test_the_page_is_served_with_its_parts(viewer: TestClient) -> None:
    page = viewer.get("/sluice/pacs")
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for asset in ("pacs.js", "hours.js", "theme.js", "pacs.css"):
        assert viewer.get(f"/sluice/static/{asset}").status_code == 200
