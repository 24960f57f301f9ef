"""Training code on small synthetic pictures: losses fall, seeds decide, nothing leaks between splits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.augment import Augmenter, Changes, content_boxes, jpeg, side_by_side
from models.calibrate import validation_scenes
from models.collage import collages
from models.compare_filters import calibrated
from models.data import SYNTHETIC, DataMissing, Film, films, sampling_weights, split_of, targets_of
from models.filter_data import compose, enlarged, heat_target, taken
from models.framing import at_side
from models.ivc_filter import IvcFilterReader
from models.labels import REGIONS36, ROUTER5, examined_of, regions_of
from models.losses import distillation_loss, loss_of
from models.networks import HEADS, TRUNKS, BodyPartNetwork, FilterNetwork, local_contrast
from models.pack import pack, unpack
from models.train_body_part import Recipe, Training, held_out_of, start_from
from models.train_ivc_filter import Recipe as FilterRecipe
from models.train_ivc_filter import SceneSource
from models.train_ivc_filter import Training as FilterTraining
from models.weights_files import SHIPPED, load_weights
from models.wires import DESIGNS, place_filter

SMALL = Recipe("compact_resnet", side=64, steps=16, batch=16, peak_rate=2e-3, collages=0, seed=3)


def pictures_of_two_kinds(count: int) -> tuple[np.ndarray, list[Film]]:
    """Bright discs ("abdomen") and bright bars ("lumbar spine") on noise."""
    generator = np.random.default_rng(5)
    y, x = np.mgrid[-1:1:320j, -1:1:320j]
    images, known = [], []
    for index in range(count):
        bar = index % 2 == 1
        shape = np.abs(x) < 0.15 if bar else x**2 + y**2 < 0.4
        images.append((40 + 150 * shape + generator.integers(0, 40, x.shape)).astype(np.uint8))
        region, router5 = ("LSPINE", "spine") if bar else ("ABDOMEN", "abdominal")
        view = "FRONTAL" if index % 3 else None
        known.append(Film(None, "drawn", f"p{index}", "train", router5, region, (region,), view=view))
    return np.stack(images), known


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_body_part_losses_fall_and_the_seed_decides() -> None:
    images, known = pictures_of_two_kinds(24)
    first = Training(SMALL, images, known).run()
    again = Training(SMALL, images, known).run()
    other = Training(replace(SMALL, seed=4, steps=2), images, known).run()
    assert np.mean(first[-3:]) < 0.75 * np.mean(first[:3])
    assert first == again
    assert first[:2] != other


def test_a_stopped_run_continues_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    images, known = pictures_of_two_kinds(24)
    checkpoint = tmp_path / "run.pt"
    whole = Training(replace(SMALL, steps=8), images, known)
    rates = [0.001] * 8
    losses = [float(whole.take_step(rate)) for rate in rates]
    stopped = Training(replace(SMALL, steps=8), images, known)
    for rate in rates[:5]:
        stopped.take_step(rate)
    stopped.save(checkpoint)
    continued = Training(replace(SMALL, steps=8), images, known)
    assert continued.resume(checkpoint)
    assert [float(continued.take_step(rate)) for rate in rates[5:]] == pytest.approx(losses[5:], abs=1e-4)
    assert not Training(SMALL, images, known).resume(checkpoint)  # another recipe starts anew


def test_frozen_parts_of_the_trunk_keep_what_they_began_with(tmp_path: Path) -> None:
    images, known = pictures_of_two_kinds(24)
    first = Training(SMALL, images, known)
    first.write(tmp_path / "begun.pt", "validation")
    training = Training(replace(SMALL, steps=2, frozen=2), images, known)
    start_from(load_weights(tmp_path / "begun.pt"), training)
    began = {name: values.clone() for name, values in training.network.state_dict().items()}
    training.run()
    now = training.network.state_dict()
    changed = {name for name, values in now.items() if not torch.equal(values, began[name])}
    assert changed
    assert not {name for name in changed if name.startswith(("trunk.0.", "trunk.1."))}


def test_filter_losses_fall() -> None:
    generator = np.random.default_rng(1)
    images = np.stack([generator.integers(60, 120, (512, 512)).astype(np.uint8) for _ in range(4)])
    known = [Film(None, "drawn", "p", "train", "abdominal", "ABDOMEN", ("ABDOMEN",))] * 4
    recipe = FilterRecipe(side=96, steps=16, batch=4, positives=1.0, seed=2)
    losses = FilterTraining(recipe, SceneSource(known, images, recipe)).run()
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])


def test_a_detector_of_detail_images_begins_as_the_one_that_it_starts_from_and_goes_on_where_it_was(
    tmp_path: Path,
) -> None:
    generator = np.random.default_rng(1)
    images = np.stack([generator.integers(60, 120, (512, 512)).astype(np.uint8) for _ in range(4)])
    known = [Film(None, "drawn", "p", "train", "abdominal", "ABDOMEN", ("ABDOMEN",))] * 4
    recipe = FilterRecipe(1024, side=128, steps=8, batch=4, positives=1.0, seed=2)
    source = SceneSource(known, images, recipe)
    pictures, heat, *_ = source.batch(0)
    assert pictures.shape == (4, 1, 128, 128)
    assert heat.shape == (4, 16, 16), "a quarter of the canonical side"
    assert heat.amax((1, 2)).tolist() == [1.0] * 4
    shipped = SHIPPED / "ivc_filter.pt"
    begun = FilterTraining(recipe, source)
    begun.begin_with(load_weights(shipped))
    begun.write(tmp_path / "begun.pt")
    coarse, fine = IvcFilterReader.load(shipped), IvcFilterReader.load(tmp_path / "begun.pt")
    assert (coarse.side, fine.side) == (512, 1024)
    scene = compose(enlarged(images[0], 1024), known[0], True, generator)
    canonical = at_side(scene.image, 512)
    assert fine.places(at_side(canonical, 1024)[None]) == coarse.places(canonical[None]), (
        "without detail it says the same"
    )
    checkpoint = tmp_path / "run.pt"
    begun.run(checkpoint=None)
    stopped, continued = FilterTraining(recipe, source), FilterTraining(recipe, source)
    for run in (stopped, continued):
        run.begin_with(load_weights(shipped))
    for step in range(3):
        stopped.take_step(source.batch(step), 1e-3)
    stopped.save(checkpoint)
    assert continued.resume(checkpoint)
    assert continued.step == 3
    assert float(continued.take_step(source.batch(3), 1e-3)) == pytest.approx(
        float(stopped.take_step(source.batch(3), 1e-3)), abs=1e-4
    )
    assert not FilterTraining(replace(recipe, seed=3), source).resume(checkpoint)


def test_detectors_of_either_side_are_given_their_thresholds_by_the_same_scenes() -> None:
    image = np.random.default_rng(1).integers(60, 120, (512, 512)).astype(np.uint8)
    known = Film(None, "drawn", "p", "validation", "abdominal", "ABDOMEN", ("ABDOMEN",))
    scenes = validation_scenes([known, known], np.stack([image, image]), 1024, positives=2)
    assert [(scene.image.shape[0], scene.box is None) for scene in scenes] == [(1024, False)] * 2 + [(512, True)] * 2
    coarse = load_weights(SHIPPED / "ivc_filter.pt")
    fine = replace(
        coarse,
        settings={**coarse.settings, "side": 1024},
        state={**{k: v for k, v in FilterNetwork(True).state_dict().items() if "detail." in k}, **coarse.state},
    )
    # A branch that says nothing yet: what stands on 512 pixels is read alike, so the thresholds are the same.
    assert calibrated(fine, scenes).settings["threshold"] == calibrated(coarse, scenes).settings["threshold"]


def test_on_more_pixels_film_and_filter_are_equally_sharp() -> None:
    """Beside an edge of the film itself, a wire has no finer part after the scene was taken."""
    step = np.zeros((256, 256), np.float32)
    step[:, 128:] = 0.5
    fine = [taken(step, np.random.default_rng(seed)) for seed in range(12)]
    assert all(one.shape == step.shape and 0 <= one.min() <= one.max() <= 1 for one in fine)
    repeated = [bool((one[::2] == one[1::2]).all()) for one in fine]
    assert any(repeated), "some as a canonical image is shown to it"
    assert not all(repeated)


@pytest.mark.parametrize("architecture", list(TRUNKS))
def test_every_trunk_has_the_heads(architecture: str) -> None:
    with torch.inference_mode():
        outputs = BodyPartNetwork(architecture).eval()(torch.zeros(2, 1, 64, 64))
    assert {name: tuple(t.shape) for name, t in outputs.items()} == {
        "router5": (2, len(ROUTER5)),
        "examined36": (2, 36),
        "visible36": (2, 36),
        "view": (2, 3),
        "orientation": (2, 4),
        "inverted": (2, 1),
        "mirrored": (2, 1),
        "pediatric": (2, 1),
    }


def test_filter_network_keeps_a_quarter_of_the_side() -> None:
    with torch.inference_mode():
        assert FilterNetwork().eval()(local_contrast(torch.rand(1, 1, 64, 96))).shape == (1, 3, 16, 24)


def test_augmentation_keeps_range_and_repeats_by_seed() -> None:
    images = torch.from_numpy(pictures_of_two_kinds(6)[0])
    boxes = content_boxes(images)
    one, changes = Augmenter(96, 5)(images, boxes)
    again, same = Augmenter(96, 5)(images, boxes)
    assert torch.equal(one, again)
    assert torch.equal(changes.mirrored, same.mirrored)
    assert one.shape == (6, 1, 96, 96)
    assert float(one.min()) >= 0
    assert float(one.max()) <= 1


def test_changes_say_what_was_done() -> None:
    """A picture bright at the top and, a little, at the left: the labels must name its turn, inversion, mirroring."""
    image = torch.full((160, 320, 320), 60, dtype=torch.uint8)
    image[:, :110] = 220
    image[:, 110:, :100] = 140
    pictures, changes = Augmenter(64, 1)(image, content_boxes(image))
    right = {"turns": 0, "mirrored": 0}
    for picture, turns, inverted, mirrored in zip(
        pictures[:, 0],
        changes.quarter_turns.tolist(),
        changes.inverted.tolist(),
        changes.mirrored.tolist(),
        strict=True,
    ):
        upright = np.rot90((1 - picture if inverted else picture).numpy(), turns)
        top, bottom = upright[12:26, 16:48].mean(), upright[38:52, 16:48].mean()
        left, other = upright[34:56, 8:24].mean(), upright[34:56, 40:56].mean()
        right["turns"] += top > bottom
        right["mirrored"] += (left < other) == mirrored
    assert right["turns"] > 0.8 * len(pictures)
    assert right["mirrored"] > 0.75 * len(pictures)
    assert {0, 1, 2, 3} == set(changes.quarter_turns.tolist())
    assert 0 < int(changes.inverted.sum()) < 80


def test_side_by_side_shows_both() -> None:
    dark = torch.full((1, 320, 320), 60, dtype=torch.uint8)
    bright = torch.full((1, 320, 320), 200, dtype=torch.uint8)
    together, box = side_by_side(dark, bright, content_boxes(dark), content_boxes(bright))
    assert together[0, 160, 80] == 60
    assert together[0, 160, 240] == 200
    assert box.tolist() == [[-1, -1, 1, 1]]


def test_jpeg_loses_detail_and_keeps_the_mean() -> None:
    picture = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    fine, coarse = (jpeg(picture, torch.full((2,), value)) for value in (0.01, 4.0))
    assert torch.allclose(fine, picture, atol=0.02)
    assert float((coarse - picture).abs().mean()) > 0.05
    assert float(coarse.mean()) == pytest.approx(float(picture.mean()), abs=0.02)


def test_a_student_learns_from_its_teachers(tmp_path: Path) -> None:
    images, known = pictures_of_two_kinds(12)
    teacher = Training(replace(SMALL, steps=2), images, known)
    teacher.run()
    teacher.write(tmp_path / "teacher.pt", "validation")
    student = Training(replace(SMALL, steps=2, seed=9), images, known, teachers=[tmp_path / "teacher.pt"])
    assert np.isfinite(student.run()).all()
    pictures = torch.zeros(2, 1, 64, 64)
    taught = student.teachers(pictures) if student.teachers else {}
    assert taught["router5"].sum(1).tolist() == pytest.approx([1, 1])
    certain = {name: probabilities.clamp(1e-6, 1 - 1e-6).log() for name, probabilities in taught.items()}
    certain["visible36"] = torch.logit(taught["visible36"].clamp(1e-6, 1 - 1e-6))
    other = {name: logits + torch.randn(logits.shape) for name, logits in certain.items()}
    agreeing, differing = (distillation_loss(outputs, taught, student.trained) for outputs in (certain, other))
    assert float(agreeing) < float(differing)


def test_a_packed_file_gives_the_same_films(tmp_path: Path) -> None:
    images, known = pictures_of_two_kinds(4)
    pack(known, images, tmp_path / "films.zip")
    again, pictures = unpack(tmp_path / "films.zip")
    assert again == known
    assert np.abs(pictures.astype(int) - images).mean() < 12  # lossy, and the drawing is noise
    with pytest.raises(ValueError, match="test split"):
        pack([replace(known[0], split="test")], images[:1], tmp_path / "no.zip")
    with pytest.raises(DataMissing, match=r"python -m models\.pack"):
        unpack(tmp_path / "absent.zip")


def test_parts_of_the_patients_cover_them_once() -> None:
    known = [Film(None, "s", f"p{i // 2}", "validation" if i > 30 else "train", "spine", None, None) for i in range(40)]
    parts = np.stack([held_out_of(known, f"{part}/4") for part in (1, 2, 3, 4)])
    assert (parts.sum(0) == 1).all()
    assert (parts[:, ::2] == parts[:, 1::2]).all()  # both films of a patient
    assert held_out_of(known, "validation").sum() == 9
    assert not held_out_of(known, "none").any()


def test_collages_show_scarce_regions() -> None:
    generator = np.random.default_rng(4)
    images = generator.integers(20, 200, (3, 320, 320), dtype=np.uint8)
    known = [
        Film(None, "s", "a", "train", "adult_chest", "CHEST", ("CHEST",), view="PA"),
        Film(None, "s", "b", "train", "abdominal", "ABDOMEN", ("ABDOMEN",), view="FRONTAL"),
        Film(None, "s", "c", "train", "others", "PELVIS", ("PELVIS",), view="FRONTAL"),
    ]
    made, pictures = collages(known, images, 8, 1)
    assert {film.examined for film in made} == {"SPINE", "TSPINE", "LSPINE", "CLAVICLE", "HIP"}
    assert pictures.shape == (len(made), 320, 320)
    assert all(film.source in SYNTHETIC for film in made)
    assert collages(known[:1], images[:1], 4, 1)[0] == []  # nothing to put together


def test_losses_of_what_is_not_known_are_nothing() -> None:
    unknown = [Film(None, "s", "a", "train", "others", None, None)]
    known = [Film(None, "s", "a", "train", "adult_chest", "CHEST", ("CHEST",), view="AP")]
    changes = Changes(torch.tensor([1]), torch.tensor([False]), torch.tensor([True]))
    trained = torch.ones(36, dtype=torch.bool)
    for films_, heads in ((unknown, set(HEADS) - {"router5", "inverted"}), (known, set())):
        targets = {name: torch.from_numpy(array) for name, array in vars(targets_of(films_)).items()}
        outputs = {name: torch.zeros(1, size, requires_grad=True) for name, size in HEADS.items()}
        loss_of(outputs, targets, changes, trained).backward()
        silent = {name for name, logits in outputs.items() if logits.grad is None or not logits.grad.any()}
        assert silent == heads


def test_labels() -> None:
    assert len(REGIONS36) == len(set(REGIONS36)) == 36
    assert regions_of("Hand|Wrist") == ("WRIST", "HAND")
    assert regions_of("Others") is None
    assert examined_of(("WRIST", "HAND")) is None
    assert examined_of(("KNEE",)) == "KNEE"
    assert examined_of(("TSPINE", "LSPINE")) == "SPINE"


def test_splits_by_hash_and_patient() -> None:
    assert split_of({"0", "e"}) == "test"
    assert split_of({"c", "f"}) == "test"
    assert split_of({"0", "c"}) == "validation"
    assert split_of({"0", "b"}) == "train"


def test_no_patient_is_on_both_sides(shared_data: Path) -> None:
    known = films(shared_data)
    trained_on = {film.group for film in known if film.split == "train"}
    assert trained_on
    assert trained_on.isdisjoint(film.group for film in known if film.split != "train")
    assert all(f.path is not None and f.router5 in ROUTER5 for f in known)


def test_sampling_gives_every_class_its_share() -> None:
    many = [Film(None, "s", str(i), "train", "adult_chest", "CHEST", ("CHEST",)) for i in range(90)]
    few = [Film(None, "s", "x", "train", "spine", "LSPINE", ("LSPINE",)) for _ in range(3)]
    weights = sampling_weights(many + few)
    assert weights.sum() == pytest.approx(1)
    assert weights[90:].sum() == pytest.approx(0.5)
    targets = targets_of(few)
    assert targets.visible[0, REGIONS36.index("LSPINE")] == 1
    assert targets.examined[0] == REGIONS36.index("LSPINE")
    assert targets.upright[0]
    assert targets.view[0].tolist() == [1, 1, 1]
    assert targets.pediatric.tolist() == [-1, -1, -1]


@pytest.mark.parametrize("design", list(DESIGNS))
def test_filters_have_the_size_of_filters(design: str) -> None:
    placed = place_filter(design, (512, 512), (256.0, 256.0), 1.0, np.random.default_rng(0))
    width, height = placed.box[2] - placed.box[0], placed.box[3] - placed.box[1]
    assert 15 < width < 70
    assert 25 < height < 110
    rows, columns = np.nonzero(placed.layer > 0.05)
    assert placed.box[0] - 3 <= columns.min() <= columns.max() <= placed.box[2] + 3
    assert placed.box[1] - 3 <= rows.min() <= rows.max() <= placed.box[3] + 3


def test_scenes_with_and_without_filter() -> None:
    film = Film(None, "drawn", "p", "train", "abdominal", "ABDOMEN", ("ABDOMEN",))
    image = np.full((512, 512), 90, dtype=np.uint8)
    with_filter = compose(image, film, True, np.random.default_rng(0))
    assert with_filter.box is not None
    assert compose(image, film, False, np.random.default_rng(0)).box is None


def test_heat_peaks_at_the_middle_of_the_box() -> None:
    heat, size, counts = heat_target([(40.0, 20.0, 72.0, 84.0), None], 128, 4)
    assert np.unravel_index(heat[0].argmax(), heat[0].shape) in [(12, 14), (13, 14), (12, 13), (13, 13)]
    assert heat[1].max() == 0
    row, column = np.argwhere(counts[0])[0]
    assert np.exp(size[0, :, row, column]) * 32 == pytest.approx([32, 64])
