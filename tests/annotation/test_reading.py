"""Reading at a page: who holds a film, what is put off, and what can be taken back."""

from __future__ import annotations

import threading

import pytest

from sluice.annotation import reading
from sluice.annotation.answers import Answer, FilmGone, Overtaken, accept, adjudicate, annotate, shown
from sluice.annotation.reading import let_go, mine, put_off, take, withdraw
from tests.annotation.conftest import settle
from tests.annotation.films import MODEL, SHADOW, Films

HAND, FOOT = Answer("others", "HAND"), Answer("others", "FOOT")


def given(films: Films, reader: str, most: int = 5) -> list[str]:
    return [row["sop_instance_uid"] for row in take(films.database, "body_part", reader, most)]


@pytest.fixture
def single(films: Films, monkeypatch: pytest.MonkeyPatch) -> Films:
    """Every film is read by one."""
    settle(monkeypatch, double=0.0)
    return films


def test_no_two_are_given_what_one_suffices_for(single: Films) -> None:
    uids = {single.film() for _ in range(9)}
    taken: dict[str, list[str]] = {}
    threads = [
        threading.Thread(target=lambda reader=reader: taken.update({reader: given(single, reader, 3)}))
        for reader in ("ada", "ben", "cem")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(uid for given_to in taken.values() for uid in given_to) == sorted(uids)
    assert given(single, "dora") == []
    assert given(single, "ada", 9) == taken["ada"], "a second tab shows the same"
    accept(single.database, "body_part", taken["ada"][0], MODEL, "ada")
    assert given(single, "ada", 9) == taken["ada"][1:]
    let_go(single.database, "body_part", "ada", taken["ada"][1:2])
    assert given(single, "dora") == taken["ada"][1:2]
    assert let_go(single.database, "body_part", "ben") == 3
    assert set(given(single, "dora", 9)) == {taken["ada"][1], *taken["ben"]}


def test_a_film_is_held_for_minutes_and_what_two_read_is_given_to_two(
    films: Films, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = films.film()
    assert given(films, "ada") == given(films, "ben") == [uid]
    assert given(films, "cem") == []
    films.database.execute("update annotation_lease set until = now() - interval '1 second' where reader = 'ada'")
    assert given(films, "cem") == [uid]
    monkeypatch.setattr(reading, "HELD", -reading.HELD)
    assert given(films, "ada") == []


def test_what_is_put_off_comes_last_and_to_others_at_once(single: Films) -> None:
    first, *rest = given_all = [single.film(sure=0.2), single.film(), single.film()]
    assert given(single, "ada")[0] == first
    put_off(single.database, "body_part", first, "ada")
    assert given(single, "ben", 1) == [first]
    let_go(single.database, "body_part", "ben")
    again = given(single, "ada")
    assert (again[-1], set(again)) == (first, set(given_all))
    assert rest


def test_the_newest_answer_is_taken_back_and_then_nothing_that_others_read(films: Films) -> None:
    store, one, two = films.database, films.film(), films.film()
    annotate(store, "body_part", one, HAND, "ben")
    annotate(store, "body_part", one, FOOT, "ada")
    newest = mine(store, "body_part", "ada")[0]
    assert (newest["sop_instance_uid"], newest["others"], newest["standing"]) == (one, [], None)
    withdraw(store, "body_part", one, "ada")
    assert given(films, "ada")[0] in (one, two)
    assert films.execute("select count(*) from annotation_now") == 1
    with pytest.raises(Overtaken, match="no answer of this film"):
        withdraw(store, "body_part", one, "ada")
    annotate(store, "body_part", one, HAND, "ada", once=True)
    annotate(store, "body_part", two, HAND, "ada", once=True)
    rows = {row["sop_instance_uid"]: row for row in mine(store, "body_part", "ada")}
    assert (rows[one]["standing"], rows[one]["others"][0]["reader"]) == ("agreed", "ben")
    with pytest.raises(Overtaken, match="your answer stays"):
        withdraw(store, "body_part", one, "ada")
    withdraw(store, "body_part", two, "ada")
    with pytest.raises(Overtaken, match="your answer stays"):
        withdraw(store, "body_part", one, "ada")


def test_what_was_decided_is_not_taken_back(films: Films) -> None:
    store, uid = films.database, films.film()
    annotate(store, "body_part", uid, HAND, "ben")
    annotate(store, "body_part", uid, FOOT, "ada")
    adjudicate(store, "body_part", uid, FOOT, "cem")
    with pytest.raises(Overtaken, match="it was decided"):
        withdraw(store, "body_part", uid, "ada")
    assert mine(store, "body_part", "ada")[0]["standing"] == "adjudicated"


def test_what_changed_meanwhile_is_said(films: Films) -> None:
    store, uid = films.database, films.film()
    assert shown(store, "body_part", uid)["model_id"] == MODEL
    accept(store, "body_part", uid, MODEL, "ada", once=True)
    with pytest.raises(Overtaken, match="answered this film already, perhaps in another tab"):
        annotate(store, "body_part", uid, HAND, "ada", once=True)
    store.execute("update model set stage = 'candidate' where model_id = %s", (MODEL,))
    store.execute("update model set stage = 'production' where model_id = %s", (SHADOW,))
    with pytest.raises(Overtaken, match="not the answer that counts"):
        accept(store, "body_part", uid, MODEL, "ben", once=True)
    films.opt_out(uid)
    with pytest.raises(FilmGone):
        annotate(store, "body_part", uid, HAND, "ben", once=True)
    assert mine(store, "body_part", "ada") == []
