"""Kappa against published examples, and what readers of films confuse."""

from __future__ import annotations

import pytest

from sluice.__main__ import main
from sluice.annotation.agreement import agreement, cohen_kappa, fleiss_kappa
from sluice.annotation.answers import Answer, adjudicate, annotate
from sluice.settings import settings
from tests.annotation.films import Films

HAND, FOOT = Answer("others", "HAND"), Answer("others", "FOOT")
# Fleiss 1971's example as it is commonly printed: 10 subjects, 14 raters, 5 categories.
PRINTED = (
    (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
)  # fmt: skip


def test_kappas_are_those_of_the_literature() -> None:
    # 50 proposals: 20 both yes, 15 both no, 5 and 10 apart: kappa 0.4
    pairs = 20 * [("y", "y")] + 15 * [("n", "n")] + 5 * [("y", "n")] + 10 * [("n", "y")]
    assert cohen_kappa(pairs) == pytest.approx(0.4)
    films = [[str(label) for label, n in enumerate(counts) for _ in range(n)] for counts in PRINTED]
    assert fleiss_kappa(films) == pytest.approx(0.210, abs=5e-4)


def test_where_chance_alone_agrees_there_is_no_kappa() -> None:
    assert cohen_kappa([]) is None
    assert cohen_kappa([("y", "y")] * 3) is None
    assert fleiss_kappa([["y"]]) is None
    assert fleiss_kappa([["y", "y", "y"]]) is None
    assert cohen_kappa([("y", "n"), ("n", "y")]) == pytest.approx(-1)


def test_pairs_fleiss_confusion_and_who_decided(
    films: Films, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = films.database
    both, apart, three, alone = (films.film() for _ in range(4))
    for uid, said in ((both, (HAND, HAND)), (apart, (HAND, FOOT)), (three, (FOOT, FOOT, FOOT)), (alone, (HAND,))):
        for reader, answer in zip(("ada", "ben", "cem"), said, strict=False):
            annotate(store, "body_part", uid, answer, reader)
    adjudicate(store, "body_part", apart, FOOT, "dora")
    found = agreement(store, "body_part")
    assert found["films"] == {"adjudicated": 1, "agreed": 2, "single": 1}
    examined = found["fields"]["examined"]
    first = examined["pairs"][0]
    assert (first["readers"], first["films"], first["agreed"]) == (["ada", "ben"], 3, 2)
    assert first["kappa"] == pytest.approx((2 / 3 - 4 / 9) / (1 - 4 / 9))
    assert [pair["films"] for pair in examined["pairs"]] == [3, 1, 1]
    assert examined["fleiss"]["films"] == 1
    assert examined["confused"] == [{"answers": ["FOOT", "HAND"], "times": 1}]
    assert found["fields"]["label"]["confused"] == []
    assert [(row["adjudicator"], row["reader"], row["as_reader"]) for row in found["adjudicators"]] == [
        ("dora", "ada", 0), ("dora", "ben", 1),
    ]  # fmt: skip
    monkeypatch.setenv("SLUICE_DATABASE_URL", store.url)
    settings.cache_clear()
    assert main(["annotate", "agreement"]) == 0
    settings.cache_clear()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1 adjudicated, 2 agreed, 1 single"
    assert "examined: ada and ben: kappa 0.400, 2 of 3 films" in lines
    assert "examined: FOOT / HAND: 1 times" in lines
    assert lines[-1] == "decided by dora: 1 of 1 films as ben said"
