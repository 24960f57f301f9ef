"""The routes, behind a person who may or may not annotate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from plugins import app, connections
from plugins.pacs import Person
from tests.annotation.films import MODEL, Films

OURS = {"Sec-Fetch-Site": "same-origin"}
Ask = Callable[..., Any]


@pytest.fixture
def ask(films: Films) -> Ask:
    """Asks a route as somebody: `ask("ada", "queue", most=1)`."""
    asking = {"name": ""}

    def person() -> Person:
        name = asking["name"]
        reads = name in ("ada", "ben", "cem")
        return Person(name, False, lambda pacs: False, may_annotate=reads, may_adjudicate=name in ("ben", "cem"))

    page = app.build([], person)
    page.dependency_overrides[connections.database] = lambda: connections.read_only(films.database.url)
    page.dependency_overrides[connections.writable] = lambda: films.database
    client = TestClient(page)

    def asked(name: str, route: str, headers: dict[str, str] | None = None, **body: Any) -> Any:
        asking["name"] = name
        sent = {"task": "body_part"} | body
        return client.post(f"/api/annotation/{route}", json=sent, headers=headers or OURS)

    return asked


def test_from_the_queue_over_two_readers_to_a_decision(ask: Ask, films: Films) -> None:
    uid = films.film()
    shown = ask("ada", "queue").json()
    assert (shown["may_annotate"], [film["sop_instance_uid"] for film in shown["films"]]) == (True, [uid])
    film = shown["films"][0]
    taken = ask("ada", "accepted", sop_instance_uid=uid, model_id=film["model_id"], seconds=2)
    assert (film["model_id"], taken.json()) == (MODEL, {"standing": "single"})
    assert ask("ada", "queue").json()["films"] == []
    assert ask("ben", "queue").json()["films"][0]["readers"] == 1
    said = {"sop_instance_uid": uid, "label": "others", "examined": "FOOT", "visible": ["FOOT"]}
    assert ask("ben", "answers", **said).json() == {"standing": "differing"}
    assert ask("ben", "differing").json()["films"][0]["may_decide"] is False
    assert ask("cem", "differing").json()["films"][0]["may_decide"] is True
    assert (refused := ask("ada", "differing")).status_code == 403
    assert "role adjudicator" in refused.text
    assert ask("ben", "adjudications", **said).status_code == 422
    assert ask("cem", "adjudications", **said).json() == {"standing": "adjudicated"}
    found = ask("viewer", "agreement").json()
    assert found["films"] == {"adjudicated": 1}
    assert found["fields"]["examined"]["confused"] == [{"answers": ["FOOT", "HAND"], "times": 1}]
    assert ask("viewer", "drift", until="2026-11-01").json()["stations"][0]["state"] == "too few"


def test_who_is_no_reader_answers_nothing_and_no_other_site_does(ask: Ask, films: Films) -> None:
    uid = films.film()
    said = {"sop_instance_uid": uid, "label": "others"}
    assert ask("viewer", "queue").json()["may_annotate"] is False
    assert ask("viewer", "answers", **said).status_code == 403
    assert ask("viewer", "accepted", sop_instance_uid=uid, model_id=MODEL).status_code == 403
    assert ask("viewer", "adjudications", **said).status_code == 403
    assert ask("viewer", "differing").status_code == 403
    assert ask("ada", "answers", {"Sec-Fetch-Site": "cross-site"}, **said).status_code == 403
    assert films.execute("select count(*) from annotation") == 0


@pytest.mark.parametrize("wrong", [{"task": "x"}, {"seconds": -1}, {"more": 1}, {"label": "knee"}, {"visible": ["X"]}])
def test_what_is_wrong_is_said(ask: Ask, films: Films, wrong: dict[str, Any]) -> None:
    said = {"sop_instance_uid": films.film(), "label": "others"}
    assert ask("ada", "answers", **said | wrong).status_code == 422
