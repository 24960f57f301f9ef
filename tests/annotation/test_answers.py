"""The queue, answers of readers, and decisions between them."""

from __future__ import annotations

from typing import Any

import psycopg2
import pytest

from sluice.annotation.answers import AnnotationError, Answer, accept, adjudicate, annotate, differing, queue
from sluice.annotation.confirmed import confirmed
from sluice.database import Database
from tests.annotation.conftest import settle
from tests.annotation.films import MODEL, SHADOW, Films

HAND = Answer("others", "HAND", ("HAND",))
FOOT = Answer("others", "FOOT", ("FOOT", "TOE"))


def order(films: Films, reader: str = "ada") -> list[str]:
    return [row["sop_instance_uid"] for row in queue(films.database, "body_part", reader)]


def test_the_most_telling_come_first_with_the_reasons(films: Films) -> None:
    plain = [films.film() for _ in range(3)]
    rare = films.film("spine", "SPINE")
    unsure = films.film(sure=0.2)
    shadow = films.film(shadow="spine")
    header = films.film(header="FOOT", shadow="others")
    both = films.film(header="FOOT", shadow="spine")
    found = order(films)
    assert found[0] == both
    assert set(found[1:3]) == {shadow, header}
    assert found[3:5] == [unsure, rare]
    assert set(found[5:]) == set(plain)
    rows = {row["sop_instance_uid"]: row for row in queue(films.database, "body_part", "ada")}
    assert (rows[both]["header_differs"], rows[both]["shadow_differs"], rows[both]["header_region"]) == (1, 1, "FOOT")
    assert rows[unsure]["uncertainty"] == pytest.approx(1), "five classes, one as likely as the other"
    assert rows[rare]["rarity"] == pytest.approx(1 - 1 / 7)
    for row in rows.values():
        parts = 2 * row["header_differs"] + 2 * row["shadow_differs"] + row["uncertainty"] + row["rarity"]
        assert row["worth"] == pytest.approx(parts)


def test_nobody_sees_what_nobody_may_use_nor_what_has_no_picture(films: Films) -> None:
    seen, opted, _ = films.film(), films.film(), films.film(has_picture=False)
    films.opt_out(opted)
    assert order(films) == [seen]
    for work in (
        lambda: annotate(films.database, "body_part", opted, HAND, "ada"),
        lambda: accept(films.database, "body_part", opted, MODEL, "ada"),
        lambda: annotate(films.database, "body_part", "1.2.3", HAND, "ada"),
    ):
        with pytest.raises(AnnotationError, match="no such image here that may be used"):
            work()


def test_a_stated_share_is_read_twice_and_nobody_reads_twice(films: Films, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(monkeypatch, double=0.5)
    uids = [films.film() for _ in range(40)]
    wanted = {row["sop_instance_uid"]: row["wanted"] for row in queue(films.database, "body_part", "ada", 40)}
    twice = {uid for uid, readers in wanted.items() if readers == 2}
    assert 8 <= len(twice) <= 32
    for uid in uids:
        accept(films.database, "body_part", uid, MODEL, "ada")
    assert order(films) == []
    assert set(order(films, "ben")) <= twice
    assert {row["sop_instance_uid"] for row in queue(films.database, "body_part", "ben", 40)} == twice
    uid = min(twice)
    accept(films.database, "body_part", uid, MODEL, "ben")
    assert uid not in {row["sop_instance_uid"] for row in queue(films.database, "body_part", "cem", 40)}


def test_one_key_takes_the_answer_that_was_shown(films: Films) -> None:
    uid, unknown = films.film(), films.film("unknown")
    assert accept(films.database, "body_part", uid, MODEL, "ada", 1.5) == "single"
    kept = films.execute("select to_jsonb(a) from annotation a")
    assert (kept["label"], kept["examined"], kept["visible"]) == ("others", "HAND", ["HAND"])
    assert (kept["accepted"], kept["seconds"], kept["shown_model_id"]) == (True, 1.5, MODEL)
    assert kept["shown"]["score"] == pytest.approx(0.99)
    with pytest.raises(AnnotationError, match="not the answer that counts"):
        accept(films.database, "body_part", uid, SHADOW, "ada")
    with pytest.raises(AnnotationError, match="no answer to take"):
        accept(films.database, "body_part", unknown, MODEL, "ada")


def test_readers_who_differ_are_decided_by_a_third(films: Films) -> None:
    store, uid = films.database, films.film()
    assert annotate(store, "body_part", uid, HAND, "ada") == "single"
    with pytest.raises(AnnotationError, match="nothing to decide"):
        adjudicate(store, "body_part", uid, HAND, "cem")
    assert annotate(store, "body_part", uid, FOOT, "ben", comment="toes") == "differing"
    (film,) = differing(store, "body_part")
    assert [(said["reader"], said["examined"]) for said in film["answers"]] == [("ada", "HAND"), ("ben", "FOOT")]
    assert confirmed(store, "body_part") == []
    with pytest.raises(AnnotationError, match="one of its readers"):
        adjudicate(store, "body_part", uid, HAND, "ben")
    adjudicate(store, "body_part", uid, FOOT, "cem")
    assert differing(store, "body_part") == []
    (row,) = confirmed(store, "body_part")
    assert (row["origin"], row["adjudicator"], row["examined"]) == ("adjudicated", "cem", "FOOT")
    assert annotate(store, "body_part", uid, HAND, "ben") == "adjudicated", "what is decided stays decided"


def test_a_readers_newest_answer_counts(films: Films) -> None:
    uid = films.film()
    annotate(films.database, "body_part", uid, FOOT, "ada")
    annotate(films.database, "body_part", uid, HAND, "ben")
    assert annotate(films.database, "body_part", uid, HAND, "ada") == "agreed"
    assert films.execute("select count(*) from annotation") == 3


@pytest.mark.parametrize("table", ["annotation", "adjudication"])
def test_facts_stay_facts(films: Films, owner: Database, table: str) -> None:
    uid = films.film()
    annotate(films.database, "body_part", uid, HAND, "ada")
    annotate(films.database, "body_part", uid, FOOT, "ben")
    adjudicate(films.database, "body_part", uid, FOOT, "cem")
    for statement in (f"update {table} set label = 'spine'", f"delete from {table}", f"truncate {table}"):
        with pytest.raises(psycopg2.Error, match="never changed or removed"):
            owner.execute(statement)


@pytest.mark.parametrize(
    ("task", "answer", "more", "message"),
    [
        ("body_part", Answer("knee"), {}, "no answer to body_part"),
        ("body_part", Answer("others", "KNIE"), {}, "'KNIE' is no region"),
        ("body_part", Answer("unclear", "KNEE"), {}, "leave them out"),
        ("ivc_filter", Answer("present", "KNEE"), {}, "leave them out"),
        ("ivc_filter", Answer("others"), {}, "no answer to ivc_filter"),
        ("fracture", Answer("others"), {}, "no task"),
        ("body_part", HAND, {"reader": " "}, "say who you are"),
        ("body_part", HAND, {"seconds": float("nan")}, "from 0 on"),
        ("body_part", HAND, {"seconds": -1.0}, "from 0 on"),
    ],
)
def test_what_is_no_answer_is_not_kept(films: Films, task: str, answer: Answer, more: Any, message: str) -> None:
    uid = films.film()
    with pytest.raises(AnnotationError, match=message):
        annotate(films.database, task, uid, answer, **{"reader": "ada"} | more)
    assert films.execute("select count(*) from annotation") == 0
