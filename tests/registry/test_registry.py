from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sluice.database import Database, select
from sluice.registry.gate import compare
from sluice.registry.registry import history, models, models_to_run, note_evaluation, register
from sluice.registry.stages import PromotionRefused, assess, promote, roll_back, to_shadow, withdraw
from sluice.registry.weights import RegistryError, read_weights
from sluice.settings import settings

SET = "ab" * 32


def weights(folder: Path, content: bytes, name: str = "body_part") -> Path:
    """A weights file with a card, as evaluation writes them."""
    folder.mkdir(exist_ok=True)
    path, digest = folder / f"{name}.pt", hashlib.sha256(content).hexdigest()
    path.write_bytes(content)
    card = {"model_id": f"body_part-tiny-{digest[:12]}", "weights_sha256": digest, "figures": {}}
    path.with_suffix(".card.json").write_text(json.dumps(card))
    return path


def answers(wrong: int, films: int = 300) -> dict[str, Any]:
    """Two films a patient; the first `wrong` ones are read wrongly."""
    truth = [film % 5 for film in range(films)]
    said = [(label + (film < wrong)) % 5 for film, label in enumerate(truth)]
    return {
        "patients": [film // 2 for film in range(films)],
        "measures": {
            "router5 macro F1": {"kind": "macro_f1", "truth": truth, "said": said},
            "examined right": {
                "kind": "share",
                "right": [None if film % 3 == 0 else int(film >= wrong) for film in range(films)],
            },
        },
    }


def measured(database: Database, model_id: str, wrong: int, evaluation_set: str = SET, **more: Any) -> None:
    note_evaluation(
        database,
        model_id,
        {
            "evaluation_set": evaluation_set, "set_name": "held out", "films": 300, "patients": 150,
            "metrics": {"router5 macro F1": {"value": 1 - wrong / 300, "ci95": [0.9, 1.0]}}, "answers": answers(wrong),
        } | more,
    )  # fmt: skip


def measured_here(database: Database, model_id: str, wrong: int, films: int = 40, name: str = "here") -> None:
    """On films of this site; of fewer than 30 only how many there are."""
    few: dict[str, Any] = {"metrics": {}, "answers": {}} if films < 30 else {"answers": answers(wrong, films)}
    measured(database, model_id, wrong, name, films_of="site", films=films, patients=films // 2, **few)


class Site:
    """An installation whose first weights are in production, with a candidate beside them."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.folder, self.shipped = database, folder / "kept", folder / "shipped"
        weights(self.shipped, b"first")
        self.first = self.run()[0].model_id
        self.second = self.candidate(b"second")

    def run(self) -> list[Any]:
        return models_to_run(self.database, "body_part", self.folder, self.shipped)

    def candidate(self, content: bytes) -> str:
        new = read_weights(weights(self.folder.parent / "new", content, content.decode()))
        assert register(self.database, new, self.folder, "ada", "trained last night", data_snapshot="cd" * 32)
        return new.model_id

    def both_read(self, model_id: str, images: int, differing: int = 0) -> None:
        with self.database.transaction() as connection, connection.cursor() as cursor:
            for of, other in ((self.first, 0), (model_id, differing)):
                cursor.executemany(
                    "insert into prediction values (%s, %s, 'body_part', %s, 0.9, '{}') on conflict do nothing",
                    [(f"1.{n}", of, "spine" if n < other else "others") for n in range(images)],
                )


@pytest.fixture
def site(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("SLUICE_SHADOW_FILMS", "20")
    settings.cache_clear()
    monkeypatch.setattr("sluice.registry.registry.SHIPPED", tmp_path / "shipped")
    return Site(database, tmp_path)


@pytest.fixture(autouse=True)
def own_settings() -> Any:
    yield
    settings.cache_clear()


def test_shipped_weights_are_production_at_first_start_and_a_candidate_after_an_upgrade(site: Site) -> None:
    (running,) = site.run()
    assert (running.stage, running.architecture) == ("production", "tiny")
    assert running.path.parent == site.folder
    assert hashlib.sha256(running.path.read_bytes()).hexdigest() == running.weights_sha256
    weights(site.shipped, b"of the next version")
    (still,) = site.run()
    assert (still.model_id, still.path) == (running.model_id, running.path), "an upgrade changes no model by itself"
    assert sorted(row["stage"] for row in models(site.database)) == ["candidate", "candidate", "production"]


def test_lost_or_changed_weights_are_one_clear_error_and_come_back_from_those_that_ship(site: Site) -> None:
    (running,) = site.run()
    running.path.write_bytes(b"rotten")
    assert site.run()[0].path.read_bytes() == b"first"
    (site.shipped / "body_part.pt").unlink()
    running.path.unlink()
    with pytest.raises(RegistryError, match=r"Restore body_part-tiny-\w{12}.pt from a backup"):
        site.run()


def test_weights_with_another_files_card_are_not_taken(site: Site, tmp_path: Path) -> None:
    path = weights(tmp_path / "odd", b"one")
    path.write_bytes(b"two")
    with pytest.raises(RegistryError, match="describes other weights"):
        read_weights(path)
    path.with_suffix(".card.json").unlink()
    with pytest.raises(RegistryError, match=r"models\.evaluate"):
        read_weights(path)


def test_a_model_goes_by_the_shadow_through_the_gate_and_back(site: Site) -> None:
    database, first, second = site.database, site.first, site.second
    to_shadow(database, second, "ada", "to see it here")
    assert [model.stage for model in site.run()] == ["production", "shadow"]
    measured(database, first, wrong=12)
    measured(database, second, wrong=9)
    site.both_read(second, 30, differing=3)
    verdict = promote(database, second, "ada", "better on limbs")
    assert (verdict.serving, verdict.both_read, verdict.agree) == (first, 30, 27)
    assert all(one.difference > 0 for one in verdict.compared)
    assert [model.model_id for model in site.run()] == [second]
    with database.transaction() as connection:
        in_use = {row["model_id"] for row in select(connection, "select model_id from prediction_in_use")}
    assert in_use == {second}
    assert roll_back(database, "body_part", "ben", "it misses clavicles") == (second, first)
    assert [model.model_id for model in site.run()] == [first]
    with database.transaction() as connection:
        in_use = {row["model_id"] for row in select(connection, "select model_id from prediction_in_use")}
    assert in_use == {first}, "what it said counts again"
    assert [(row["event"], row["by"]) for row in history(database, second)] == [
        ("rolled-back", "ben"), ("production", "ada"), ("shadow", "ada"), ("registered", "ada"),
    ]  # fmt: skip
    with pytest.raises(RegistryError, match="only one was ever in production"):
        roll_back(database, "body_part", "ben", "further back")


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("unmeasured", "never measured"),
        ("other set", "not measured on the same films"),
        ("worse", r"router5 macro F1 0\.\d+ beside 0\.\d+, difference -0\.\d+ .* does not pass"),
        ("candidate", "It is no shadow"),
        ("not read", "read 5 images .*; 20 are asked for"),
    ],
)
def test_the_gate_says_why_not(site: Site, case: str, said: str) -> None:
    database, second = site.database, site.second
    if case != "candidate":
        to_shadow(database, second, "ada", "to see it here")
    measured(database, site.first, wrong=5)
    if case != "unmeasured":
        measured(database, second, 40 if case == "worse" else 5, "ef" * 32 if case == "other set" else SET)
    site.both_read(second, 5 if case == "not read" else 30)
    before = assess(database, second).reasons
    with pytest.raises(PromotionRefused, match=said):
        promote(database, second, "ada", "I like it")
    assert len(before) == (2 if case == "worse" else 1), before
    assert next(model.model_id for model in site.run()) == site.first
    refusal = history(database, second)[0]
    assert (refusal["event"], refusal["detail"]["reasons"]) == ("refused", list(before))


def test_films_of_this_site_are_compared_apart_and_refuse_who_is_worse_beyond_chance(site: Site) -> None:
    database, first, second = site.database, site.first, site.second
    to_shadow(database, second, "ada", "to see it here")
    site.both_read(second, 30)
    for model in (first, second):
        measured(database, model, wrong=5)
        measured_here(database, model, 0, films=12, name="few")
    verdict = assess(database, second)
    assert (verdict.reasons, verdict.site_films, verdict.compared_here) == ((), 12, ()), "too few say nothing"
    (row,) = (row for row in models(database) if row["model_id"] == second)
    assert (row["films"], row["site_films"], row["site_metrics"]) == (300, 12, {})
    measured_here(database, first, wrong=2)
    assert "not measured on the same films of this site" in " ".join(assess(database, second).reasons)
    measured_here(database, second, wrong=3)
    verdict = assess(database, second)
    assert verdict.site_films == 40
    assert sorted(one.films for one in verdict.compared_here) == [26, 40]
    assert all(one.passes and one.ci95[0] < -0.02 for one in verdict.compared_here), "few films prove no margin"
    assert not verdict.reasons
    measured_here(database, second, wrong=20, name="more")
    measured_here(database, first, wrong=2, name="more")
    with pytest.raises(PromotionRefused, match="On films of this site it is worse: router5 macro F1 0"):
        promote(database, second, "ada", "I like it")


def test_nobody_moves_a_model_without_name_and_reason_nor_out_of_turn(site: Site) -> None:
    for move in (to_shadow, withdraw, promote):
        with pytest.raises(RegistryError, match="say both who you are and why"):
            move(site.database, site.second, "ada", " ")  # type: ignore[operator]
    with pytest.raises(RegistryError, match="only a shadow is withdrawn"):
        withdraw(site.database, site.first, "ada", "tired of it")
    with pytest.raises(RegistryError, match="no model 'x'"):
        promote(site.database, "x", "ada", "why not")
    to_shadow(site.database, site.second, "ada", "to see it here")
    withdraw(site.database, site.second, "ada", "seen enough")
    assert [model.stage for model in site.run()] == ["production"]


def test_the_same_errors_cancel_out_and_the_interval_is_of_the_difference() -> None:
    same = compare(answers(30), answers(30), 0.0)
    assert all(one.passes and one.difference == 0 and one.ci95 == (0, 0) for one in same)
    (f1, share) = compare(answers(30), answers(24), 0.02)
    assert f1.films == 300
    assert share.films == 200
    assert share.difference == pytest.approx(-4 / 200)
    assert share.ci95[0] < share.difference < share.ci95[1]
    assert not share.passes, "a difference at the margin is not proven to be within it"


def test_the_gates_macro_f1_is_that_of_the_scores() -> None:
    from models.scores import confusion, macro_f1

    generator = np.random.default_rng(3)
    truth, said = generator.integers(0, 5, 200), generator.integers(0, 5, 200)
    one = {
        "patients": list(range(200)),
        "measures": {"m": {"kind": "macro_f1", "truth": truth.tolist(), "said": said.tolist()}},
    }
    assert compare(one, one, 0.0)[0].candidate == pytest.approx(macro_f1(confusion(truth, said, 5)))
