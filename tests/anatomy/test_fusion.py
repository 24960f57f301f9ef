"""Header and model together: what is learned without labels, and what comes of odd answers."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.anatomy.fusion import ALL, KEYS, RIGHT_BEFORE, Film, answers, fuse, learn
from sluice.database import Database, select
from tests.anatomy.test_strategies import NEW, OLD, Films
from tests.ledger_rows import DAY

REGIONS = ("CHEST", "ABDOMEN", "KNEE", "HAND", "SKULL", "PELVIS")


def row(examined: str, header: str | None = None, station: str = "DX1", **changes: Any) -> dict[str, Any]:
    return {
        "sop_instance_uid": "1",
        "region_key": header,
        "sct_code": None,
        "source_tag": "(0018,0015)" if header else None,
        "confidence": 0.9,
        "station_name": station,
        "examined": examined,
        "examined_score": 0.9,
        "probabilities": {examined: 0.9},
    } | changes


def film(examined: str, header: str | None = None, station: str = "DX1", **changes: Any) -> Film:
    made = Film.of(row(examined, header, station, **changes))
    assert made is not None
    return made


def hospital(wrong: dict[str, float], films: int, seed: int = 3) -> tuple[list[Film], list[str]]:
    """Films whose headers are wrong as often as their scanner's are, read by a model that is right as often as it
    says; and what they truly show."""
    chance = random.Random(seed)
    made, truth = [], []
    for number in range(films):
        station = sorted(wrong)[number % len(wrong)]
        true = chance.choice(REGIONS)
        header = true
        if chance.random() < wrong[station]:
            header = chance.choice([key for key in REGIONS if key != true])
        sure = chance.choice((0.5, 0.7, 0.95))
        others = [key for key in REGIONS if key != true]
        said = true if chance.random() < sure else chance.choice(others)
        rest = {key: (1 - sure) / 5 for key in REGIONS if key != said}
        made.append(film(said, header, station, probabilities={said: sure} | rest))
        truth.append(true)
    return made, truth


def test_the_share_of_wrong_headers_of_each_scanner_is_learned_without_labels() -> None:
    wrong = {"GOOD": 0.05, "USUAL": 0.20, "BAD": 0.60}
    films, _ = hospital(wrong, 3_000)
    beliefs = learn(films)
    for station, share in wrong.items():
        assert beliefs.reliability["(0018,0015)", False, station] == pytest.approx(1 - share, abs=0.05)
    assert beliefs.of(("(0018,0015)", False, "NEVER SEEN")) == beliefs.reliability["(0018,0015)", False, ""]
    assert beliefs.of(("(0008,103E)", False, "GOOD")) == beliefs.reliability[ALL]
    assert learn(films) == beliefs


def test_both_together_are_righter_than_either_and_as_right_as_they_say() -> None:
    films, truth = hospital({"A": 0.1, "B": 0.3}, 3_000)
    told = answers(films, learn(films))
    right = sum(region == true for (region, _), true in zip(told, truth, strict=True)) / len(films)
    header = sum(true == KEYS[one.named[0]] for one, true in zip(films, truth, strict=True)) / len(films)
    model = sum(true == KEYS[one.examined] for one, true in zip(films, truth, strict=True)) / len(films)
    assert right > max(header, model) + 0.03
    assert sum(probability for _, probability in told) / len(told) == pytest.approx(right, abs=0.03)


def test_a_region_that_the_model_never_answers_is_found_by_its_header() -> None:
    films = [film("SHOULDER", "CLAVICLE") for _ in range(5)] + [film("SHOULDER", "SHOULDER") for _ in range(30)]
    sure = film("KNEE", "CLAVICLE", probabilities={"KNEE": 0.995})
    films += [film("KNEE", "KNEE") for _ in range(30)] + [film("KNEE", "SHOULDER") for _ in range(15)]
    beliefs = learn(films)
    (beside, _), (elsewhere, _) = answers([film("SHOULDER", "CLAVICLE"), sure], beliefs)
    assert beside == "CLAVICLE"
    assert elsewhere == "KNEE"  # a clavicle does not look like a knee


def test_a_region_that_the_model_answers_for_the_first_time_counts() -> None:
    beliefs = learn([film("CHEST", "CHEST") for _ in range(50)])
    assert [region for region, _ in answers([film("SKULL"), film("CHEST")], beliefs)] == ["SKULL", "CHEST"]


def test_a_composite_and_a_coarse_word_leave_the_choice_to_the_model() -> None:
    films, _ = hospital({"A": 0.15}, 600)
    beliefs = learn(films)
    both = film("ABDOMEN", "CHEST", sct_code="416550000")
    coarse = film("HAND", None, sct_code="53120007", source_tag="(0018,0015)")
    against = film(
        "KNEE", None, sct_code="53120007", source_tag="(0018,0015)", probabilities={"KNEE": 0.5, "HAND": 0.45}
    )
    assert [region for region, _ in answers([both, coarse, against], beliefs)] == ["ABDOMEN", "HAND", "HAND"]


@pytest.mark.parametrize(
    "probabilities",
    [None, [], {}, {"KNEE": "much"}, {"KNEE": -1.0}, {"KNEE": True}, {"NO_SUCH_REGION": 0.9}, {"KNEE": float("nan")}],
)
def test_an_answer_without_usable_probabilities_counts_by_its_single_answer(probabilities: Any) -> None:
    made = film("KNEE", probabilities=probabilities)
    assert made.probabilities == {KEYS.index("KNEE"): 0.9}
    assert film("KNEE", probabilities=probabilities, examined_score=float("nan")).probabilities[made.examined] == 0.5
    assert [region for region, _ in answers([made], learn([made]))] == ["KNEE"]


def test_probabilities_beyond_one_are_made_one_and_an_unknown_region_is_no_answer() -> None:
    assert sum(film("KNEE", probabilities={"KNEE": 0.9, "HAND": 0.6}).probabilities.values()) == pytest.approx(1)
    assert Film.of(row("NO_SUCH_REGION")) is None
    nothing = learn([])
    assert nothing.reliability == {ALL: RIGHT_BEFORE}
    assert sum(nothing.prevalence) == pytest.approx(1)
    assert answers([], nothing) == []


anything = st.none() | st.floats() | st.text(max_size=3) | st.booleans() | st.integers(-2, 2)


@settings(max_examples=30)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "examined": st.sampled_from([*REGIONS, "CLAVICLE"]),
                "header": st.sampled_from([*REGIONS, "THUMB", None]),
                "sct_code": st.sampled_from([None, "416550000", "53120007", "nonsense"]),
                "station": st.sampled_from(["A", "B", ""]),
                "confidence": st.sampled_from([None, 0.0, 0.3, 0.9]),
                "examined_score": anything,
                "probabilities": anything | st.dictionaries(st.sampled_from([*REGIONS, "OTHER"]), anything, max_size=4),
            }
        ),
        max_size=8,
    )
)
def test_whatever_the_readers_say_each_film_gets_a_region_and_a_probability(rows: list[dict[str, Any]]) -> None:
    films = [film(**row) for row in rows]
    beliefs = learn(films)
    assert all(0 < share < 1 for share in beliefs.reliability.values())
    told = answers(films, beliefs)
    assert len(told) == len(films)
    assert all(region in KEYS and 0 < probability <= 1 for region, probability in told)


def test_fuse_writes_each_answer_once_again_nothing_and_all_of_them_anew(database: Database) -> None:
    films = Films(database)
    for _ in range(4):
        films.film("KNEE", "KNEE")
    films.film("CHEST")
    assert fuse(database, "2026-10-27").fused == 0  # none of that day; the learning is every film's
    first = fuse(database, DAY.isoformat())
    assert (first.fused, first.learned, first.learned_from) == (4, 0, 4)
    assert fuse(database, DAY.isoformat()).as_dict() == {"fused": 0, "learned": 0, "learned_from": 4}
    films.film("HAND", "KNEE")
    assert (fuse(database).fused, fuse(database).learned) == (1, 0)  # one more film teaches nothing new
    anew = fuse(database, anew=True)
    assert (anew.fused, anew.learned, anew.learned_from) == (5, 1, 5)
    with database.transaction() as connection:
        rows = select(
            connection, "select * from header_reliability where fusion_id = (select max(fusion_id) from fusion)"
        )
        assert select(connection, "select count(*) as n from fused_anatomy") == [{"n": 5}]
    whole = next(row for row in rows if (row["source_tag"], row["station_name"]) == ("", ""))
    assert (whole["films"], whole["agreeing"]) == (5, 4)


def test_twice_as_many_films_are_learned_from_again_and_each_model_has_its_own(database: Database) -> None:
    films = Films(database)
    films.film("KNEE", "KNEE")
    assert fuse(database).learned == 1
    uid = films.film("KNEE", "HAND")
    assert fuse(database).as_dict() == {"fused": 2, "learned": 1, "learned_from": 2}
    films.model(NEW, "2026-02-01")
    films.reads(uid, "KNEE", model=NEW)
    assert fuse(database).learned == 1
    with database.transaction() as connection:
        rows = select(connection, "select sop_instance_uid, model_id from fused_anatomy order by 1, 2")
    assert [row["model_id"] for row in rows if row["sop_instance_uid"] == uid] == sorted((NEW, OLD))


def test_an_answer_without_a_region_and_a_series_without_anatomy_stop_nothing(database: Database) -> None:
    films = Films(database)
    bare = films.film("KNEE", "KNEE")
    odd = films.film("KNEE", "NO_SUCH_REGION")
    database.execute("delete from header_anatomy where series_instance_uid = %s", (bare.rpartition(".")[0],))
    database.execute("update prediction set detail = '{}' where sop_instance_uid = %s", (odd,))
    assert fuse(database).fused == 1
    assert films.found("fused", "KNEE") == {bare, odd}  # the one by the model alone, the other by its header alone
    assert films.found("header", "KNEE") == {odd}
