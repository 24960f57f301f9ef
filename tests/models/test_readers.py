"""The readers with the weights that ship: figures on real films, errors, batches, cards."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.body_part import Answer, BodyPartReader, decide_router5, in_groups_of
from models.calibrate import changed, temperature_and_bias, twin_of
from models.cards import page
from models.data import canonical_film, films
from models.filter_data import can_carry_filter, compose
from models.ivc_filter import IvcFilterReader
from models.labels import REGIONS36, ROUTER5
from models.networks import HEADS
from models.scores import calibration_error, confusion, macro_f1, summary, wilson
from models.weights_files import SHIPPED, WeightsUnusable, digest, load_weights, save_weights

NAMES = ("body_part", "ivc_filter")


@pytest.fixture(scope="module")
def body_part() -> BodyPartReader:
    torch.set_num_threads(1)
    return BodyPartReader.load()


@pytest.fixture(scope="module")
def ivc_filter() -> IvcFilterReader:
    torch.set_num_threads(1)
    return IvcFilterReader.load()


def noise(count: int) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 255, (512, 512), dtype=np.uint8) for _ in range(count)]


def test_cards_belong_to_the_weights(body_part: BodyPartReader, ivc_filter: IvcFilterReader) -> None:
    for name, reader in zip(NAMES, (body_part, ivc_filter), strict=True):
        assert reader.card["weights_sha256"] == reader.weights_sha256 == digest(SHIPPED / f"{name}.pt")
        assert reader.card["model_id"] == reader.model_id
        assert reader.model_id.startswith(f"{name}-{reader.architecture}-")
        written = Path(__file__).resolve().parents[2] / "docs" / "models" / f"{name}.md"
        assert written.read_text(encoding="utf-8") == page(name, reader.card)
    assert sum(path.stat().st_size for path in SHIPPED.glob("*.pt")) < 40_000_000


def test_readings_are_complete_and_repeatable(body_part: BodyPartReader) -> None:
    images = [*noise(3), np.zeros((512, 512), dtype=np.uint8)]
    first, again = body_part.read(images), body_part.read(images)
    assert first == again
    for reading in first:
        assert reading.router5 in ROUTER5
        assert reading.examined in REGIONS36
        assert set(reading.visible) <= set(REGIONS36)
        assert 0 <= reading.router5_score <= 1
        assert sum(reading.probabilities["router5"].values()) == pytest.approx(1, abs=1e-3)
        assert set(reading.detail()) >= {"router5", "examined", "visible", "confident", "view", "probabilities"}
        assert json.loads(json.dumps(reading.detail())) == reading.detail()
        assert reading.label == (reading.router5 if reading.confident else "unknown")
        assert reading.agrees or not reading.confident
        assert (reading.pediatric is None) == (reading.examined != "CHEST")
    assert body_part.read([]) == []
    with pytest.raises(ValueError, match="4 images but 1 ages"):
        body_part.read(images, [3.0])


def test_batch_size_does_not_change_a_reading(body_part: BodyPartReader) -> None:
    images = noise(5)
    alone = [body_part.read([image])[0].router5_score for image in images]
    assert [reading.router5_score for reading in body_part.read(images)] == pytest.approx(alone, abs=1e-4)


def test_threads_change_no_reading(body_part: BodyPartReader) -> None:
    images = np.stack(noise(35))
    torch.set_num_threads(2)
    try:
        shared = BodyPartReader.load().logits(images)
    finally:
        torch.set_num_threads(1)
    for name, alone in body_part.logits(images).items():
        assert torch.allclose(shared[name], alone, atol=1e-3), name


def test_age_decides_between_chests() -> None:
    chest = np.array([0.05, 0.3, 0.5, 0.1, 0.05], dtype=np.float32)
    assert ROUTER5[decide_router5(chest, None)[0]] == "pediatric_chest"
    label, score, by_age = decide_router5(chest, 44.0)
    assert (ROUTER5[label], by_age) == ("adult_chest", True)
    assert score == pytest.approx(0.8)
    assert ROUTER5[decide_router5(chest, 14.9)[0]] == "pediatric_chest"
    # Two halves of a chest beat a single other class, and age turns no spine into a chest.
    assert ROUTER5[decide_router5(np.array([0.35, 0.3, 0.3, 0.05, 0], dtype=np.float32), None)[0]] == "adult_chest"
    assert ROUTER5[decide_router5(np.array([0, 0.2, 0.2, 0.6, 0], dtype=np.float32), 3.0)[0]] == "spine"


def test_an_unsure_or_contradicting_reading_is_labelled_unknown(body_part: BodyPartReader) -> None:
    logits = {name: torch.zeros(3, size) for name, size in HEADS.items()}
    logits["router5"][:2, ROUTER5.index("spine")] = 20.0
    logits["examined36"][:, REGIONS36.index("LSPINE")] = 20.0
    logits["examined36"][1, REGIONS36.index("KNEE")] = 40.0  # says spine, shows a knee
    logits["orientation"][:, 1] = 20.0
    logits["inverted"][:] = -20.0
    sure, contradicting, unsure = body_part.interpret(logits, [None] * 3)
    assert [reading.label for reading in (sure, contradicting, unsure)] == ["spine", "unknown", "unknown"]
    assert (sure.agrees, contradicting.agrees, unsure.confident) == (True, False, False)
    assert sure.orientation == Answer(90, 1.0, True)
    assert sure.inverted == Answer(False, 1.0, True)
    assert sure.mirrored is None
    assert contradicting.examined == "LSPINE", "regions follow the router, and the contradiction is told"
    # Nothing seems visible: what is examined is.
    logits["visible36"][:] = -20.0
    assert body_part.interpret(logits, [None] * 3)[1].visible == ["LSPINE"]


def test_regions_take_the_groups_probabilities_of_the_router_and_keep_their_proportions() -> None:
    examined = torch.zeros(1, len(REGIONS36))
    for region, probability in (("ABDOMEN", 0.5), ("LSPINE", 0.2), ("SPINE", 0.1), ("CHEST", 0.2)):
        examined[0, REGIONS36.index(region)] = probability
    router = torch.tensor([[0.1, 0.05, 0.05, 0.8, 0.0]])  # ROUTER5: abdominal, two chests, spine, others
    together = dict(zip(REGIONS36, in_groups_of(router, examined)[0].tolist(), strict=True))
    assert together["ABDOMEN"] == pytest.approx(0.1, abs=1e-4)
    assert together["CHEST"] == pytest.approx(0.1, abs=1e-4)
    assert together["LSPINE"] / together["SPINE"] == pytest.approx(2)
    assert sum(together.values()) == pytest.approx(1)


def test_changes_to_films_are_noticed(body_part: BodyPartReader, shared_data: Path) -> None:
    chests = [f for f in films(shared_data) if f.split == "test" and f.view in ("AP", "PA") and f.source == "nih"][:30]
    images = np.stack([canonical_film(film) for film in chests])
    generator = np.random.default_rng(2)
    for change in ("orientation", "inverted", "mirrored"):
        pictures, truth = changed(images, change, generator)
        logits = body_part.all_logits(pictures)[change]
        said = logits.argmax(1) if change == "orientation" else logits[:, 0] > 0
        assert np.mean(said == truth) > 0.8, change


def test_a_leaning_network_is_set_upright_by_temperature_and_bias() -> None:
    generator = np.random.default_rng(8)
    labels = generator.integers(0, 3, 4000)
    # Gaussian classes: their exact log likelihoods, made too faint and leaning to the third.
    points = generator.normal(np.eye(3)[labels], 0.7)
    exact = points / 0.49
    temperature, bias = temperature_and_bias((exact * 0.5 + [0, 0, 0.6]).astype(np.float32), labels)
    assert temperature == pytest.approx(0.5, abs=0.06)
    assert bias == pytest.approx(np.array([0.4, 0.4, -0.8]), abs=0.12)
    sure = np.eye(4, dtype=np.float32)[labels] * 9
    temperature, bias = temperature_and_bias(sure, labels)  # all right already, and no film of the fourth class
    assert 0.3 <= temperature <= 4
    assert np.abs(bias).max() <= 2


def test_weights_that_saw_validation_need_a_twin(tmp_path: Path) -> None:
    weights = load_weights(SHIPPED / "body_part.pt")
    saw = replace(weights, settings=weights.settings | {"held_out": "none"})
    unseen = replace(weights, settings=weights.settings | {"held_out": "validation"})
    assert twin_of(unseen, None) is unseen
    with pytest.raises(WeightsUnusable, match="--twin"):
        twin_of(saw, None)
    for name, settings in (("twin", unseen.settings), ("other", unseen.settings | {"recipe": {}})):
        save_weights(tmp_path / f"{name}.pt", weights.state, weights.architecture, settings)
    assert twin_of(saw, tmp_path / "twin.pt").settings == unseen.settings
    with pytest.raises(WeightsUnusable, match="no twin"):
        twin_of(saw, tmp_path / "other.pt")


def test_test_films_are_read_right(body_part: BodyPartReader, shared_data: Path) -> None:
    chosen = [film for film in films(shared_data) if film.split == "test"]
    chosen = [chosen[int(i)] for i in np.linspace(0, len(chosen) - 1, 100)]
    readings = body_part.read([canonical_film(f) for f in chosen], [f.age_years for f in chosen])
    right = np.mean([r.router5 == f.router5 for r, f in zip(readings, chosen, strict=True)])
    assert right >= body_part.card["figures"]["router5"]["by_subset"]["all"]["accuracy"] - 0.12
    assert right > 0.5


def test_filters_are_found_and_films_without_are_not(ivc_filter: IvcFilterReader, shared_data: Path) -> None:
    chosen = [film for film in films(shared_data) if film.split == "test" and can_carry_filter(film)]
    images = [canonical_film(chosen[int(i)]) for i in np.linspace(0, len(chosen) - 1, 30)]
    generator = np.random.default_rng(9)
    scenes = [compose(image, chosen[0], True, generator) for image in images]
    with_filter = ivc_filter.read([scene.image for scene in scenes if scene.box is not None])
    without = ivc_filter.read(images)
    measured = ivc_filter.card["figures"]["sensitivity_synthetic"]["training_designs"]["sensitivity"]
    assert np.mean([r.present for r in with_filter]) >= measured - 0.3
    assert np.mean([r.present for r in without]) <= 0.1
    assert np.mean([r.score for r in with_filter]) > 2 * np.mean([r.score for r in without])
    for reading in with_filter:
        assert reading.present == bool(reading.boxes)
        for found in reading.boxes:
            x0, y0, x1, y1 = found["box"]
            assert 0 <= x0 < x1 <= 511
            assert 0 <= y0 < y1 <= 511


@pytest.mark.parametrize("reader", [BodyPartReader, IvcFilterReader])
def test_missing_damaged_and_foreign_weights(reader: type, tmp_path: Path) -> None:
    with pytest.raises(WeightsUnusable, match="no weights at"):
        reader.load(tmp_path / "none.pt")
    damaged = tmp_path / "damaged.pt"
    damaged.write_bytes((SHIPPED / "ivc_filter.pt").read_bytes()[:5000])
    with pytest.raises(WeightsUnusable, match="no weights file of this project"):
        reader.load(damaged)
    other = SHIPPED / ("ivc_filter.pt" if reader is BodyPartReader else "body_part.pt")
    with pytest.raises(WeightsUnusable, match="the weights are for"):
        reader.load(other)


def test_weights_that_name_one_network_and_hold_another(tmp_path: Path) -> None:
    path = tmp_path / "odd.pt"
    save_weights(path, {"x": torch.zeros(3)}, "compact_resnet", {"side": 64, "trained_regions": ["CHEST"]})
    with pytest.raises(WeightsUnusable, match="do not fit"):
        BodyPartReader.load(path)


def test_scores() -> None:
    truth, said = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    assert macro_f1(confusion(truth, said, 3)) == pytest.approx((2 / 3 + 0.8) / 2)
    figures = summary(truth, said, 3, ["a", "a", "b", "c"])
    assert figures["accuracy"] == 0.75
    assert figures["patients"] == 3
    assert figures["accuracy_ci95"][0] <= 0.75 <= figures["accuracy_ci95"][1]
    assert summary(truth, said, 3, ["a", "a", "b", "c"]) == figures
    assert wilson(96, 100) == pytest.approx([0.902, 0.984], abs=0.001)
    assert calibration_error(np.array([0.9, 0.9]), np.array([True, False])) == pytest.approx(0.4)
