"""Precision, recall and F1: against plain counting, and against what must hold for any films."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.anatomy.regions import REGIONS
from sluice.anatomy.scores import MACRO, MICRO, ImpossibleFigures, Measure, evaluate
from sluice.anatomy.strategies import Strategy, matches

KEYS = ("CHEST", "KNEE", "HAND", "ELBOW")
one = st.sampled_from([*KEYS, None])
answer = st.fixed_dictionaries(
    {
        "header_region": one,
        "header_code": st.sampled_from([None, "416550000", "53120007", "nonsense"]),
        "examined_region": one,
        "visible_regions": st.none() | st.lists(st.sampled_from([*KEYS, "NO_SUCH_REGION"]), max_size=3),
        "fused_region": one,
    }
)
film = st.tuples(answer, st.frozensets(st.sampled_from(KEYS), max_size=2), st.integers(0, 3))


def measures(films: list[tuple[dict, frozenset[str], int]], draws: int = 20) -> dict[tuple[Strategy, str], Measure]:
    answers = {str(at): matches(said) for at, (said, _, _) in enumerate(films)}
    truth = {str(at): shown for at, (_, shown, _) in enumerate(films)}
    patients = {str(at): str(patient) for at, (_, _, patient) in enumerate(films)}
    return {(made.strategy, made.region): made for made in evaluate(answers, truth, patients, draws)}


@settings(max_examples=50)
@given(st.lists(film, max_size=12))
def test_figures_are_plain_counts_and_keep_what_must_hold(films: list[tuple[dict, frozenset[str], int]]) -> None:
    found = measures(films)
    for (strategy, region), made in found.items():
        if region in (MACRO, MICRO):
            continue
        says = [region in matches(said)[strategy] for said, _, _ in films]
        shows = [region in shown for _, shown, _ in films]
        hits = sum(a and b for a, b in zip(says, shows, strict=True))
        assert (made.positives, made.found, made.hits) == (sum(shows), sum(says), hits)
        assert made.precision == (hits / sum(says) if sum(says) else None)
        assert made.recall == (hits / sum(shows) if sum(shows) else None)
    for region in [*REGIONS, MICRO]:
        recall = {s: made.recall for s in Strategy if (made := found.get((s, region))) and made.recall is not None}
        if recall:
            parts = recall[Strategy.HEADER], recall[Strategy.VISIBLE]
            assert recall[Strategy.INTERSECTION] <= min(parts)
            assert recall[Strategy.UNION] >= max(parts)
            assert recall[Strategy.EXAMINED] <= recall[Strategy.VISIBLE]
    for made in found.values():
        for figure in (made.precision, made.recall, made.f1):
            assert figure is None or 0 <= figure <= 1


@pytest.mark.parametrize(
    ("strategy", "regions", "broken"),
    [
        (Strategy.INTERSECTION, {"HAND"}, "intersection within header"),
        (Strategy.UNION, set(), "header within union"),
        (Strategy.EXAMINED, {"KNEE"}, "examined within visible"),
    ],
)
def test_answers_that_contradict_each_other_give_no_figures(strategy: Strategy, regions: set[str], broken: str) -> None:
    said = {"header_region": "CHEST", "header_code": None, "examined_region": "CHEST"}
    by = matches({**said, "visible_regions": ["CHEST"], "fused_region": None}) | {strategy: frozenset(regions)}
    with pytest.raises(ImpossibleFigures, match=broken):
        evaluate({"1": by}, {"1": frozenset({"CHEST"})}, {})


def said(region: str | None) -> dict[str, object]:
    return {"header_region": region, "header_code": None, "examined_region": None} | dict.fromkeys(
        ("visible_regions", "fused_region")
    )


def test_intervals_resample_patients_and_not_films() -> None:
    # One patient's forty films are all right, another's all wrong: two patients know little, forty-eight films much.
    films = [(said("CHEST"), frozenset({"CHEST"}), 0)] * 40 + [(said(None), frozenset({"CHEST"}), 1)] * 40
    low, high = measures(films, 500)[Strategy.HEADER, "CHEST"].recall_ci or (0.5, 0.5)
    assert (low, high) == (0.0, 1.0)
    alone = [(shown, truth, at) for at, (shown, truth, _) in enumerate(films)]
    low, high = measures(alone, 500)[Strategy.HEADER, "CHEST"].recall_ci or (0.0, 1.0)
    assert 0.3 < low < 0.5 < high < 0.7


def test_macro_is_the_mean_over_regions_that_occur_and_counts_what_is_never_found_as_nought() -> None:
    films = [
        (said("CHEST"), frozenset({"CHEST"}), 0),
        (said("KNEE"), frozenset({"HAND"}), 1),
        (said("KNEE"), frozenset({"KNEE"}), 2),
        (said("ELBOW"), frozenset(), 3),
    ]
    found = measures(films)
    macro, micro = found[Strategy.HEADER, MACRO], found[Strategy.HEADER, MICRO]
    assert macro.precision == pytest.approx((1 + 0.5 + 0) / 3)
    assert macro.recall == pytest.approx(2 / 3)
    assert (micro.precision, micro.recall) == (0.5, pytest.approx(2 / 3))
    assert found[Strategy.HEADER, "HAND"].precision is None
    assert found[Strategy.HEADER, "ELBOW"].recall is None
    assert measures(films) == found  # the same films give the same intervals
