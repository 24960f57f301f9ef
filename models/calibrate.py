"""Calibrate trained weights on the validation split: temperatures, confidence and score thresholds.

`python -m models.calibrate --data ../shared/data --out models/weights` reads the weights in `--out`, adds what it
finds to their settings and writes them again, so that one digest covers weights and thresholds. Weights that were
trained on the validation films too are calibrated by those of their twin (`--twin`): same recipe, without these films.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from models.body_part import SOFTMAX_HEADS, BodyPartReader
from models.data import Film, films, images_of, targets_of
from models.filter_data import Scene, backgrounds, can_carry_filter, compose, enlarged
from models.framing import SIZE
from models.ivc_filter import IvcFilterReader
from models.labels import REGIONS36
from models.weights_files import Weights, WeightsUnusable, load_weights, save_weights
from models.wires import TRAINING_DESIGNS

log = logging.getLogger("models.calibrate")
WANTED_ACCURACY = 0.98
"""Of the readings called confident, on the validation split."""
WANTED_SPECIFICITY = 0.99
"""Of the detector, on validation films without a filter."""
VALIDATION_POSITIVES = 60
"""Validation films with a rendered filter, beside all of them without."""


def temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The temperature that minimises the negative log likelihood (Guo et al. 2017), from a grid."""
    grid = np.exp(np.linspace(np.log(0.3), np.log(4), 60))
    losses = [float(_nll(logits / t, labels)) for t in grid]
    return float(grid[int(np.argmin(losses))])


def _nll(logits: NDArray[Any], labels: NDArray[np.int64]) -> float:
    logits = logits - logits.max(1, keepdims=True)
    chosen = logits[np.arange(len(labels)), labels]
    return float((np.log(np.exp(logits).sum(1)) - chosen).mean())


def temperature_and_bias(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[float, NDArray[np.float64]]:
    """A temperature and a bias a class that together minimise the negative log likelihood.

    Bias-corrected temperature scaling (Alexandari, Kundaje & Shrikumar 2020): training draws classes evenly, films do
    not come so, and what a few films of a class taught leans to one side. The biases sum to zero; a class without
    films has none of its own. Bounded, for films that are all read right have no minimum.
    """
    there = np.bincount(labels, minlength=logits.shape[1]) > 0

    def loss(parameters: NDArray[np.float64]) -> float:
        return _nll(logits * np.exp(parameters[0]) + parameters[1:], labels)

    bounds = [(-np.log(4), -np.log(0.3)), *((-2.0, 2.0) if one else (0.0, 0.0) for one in there)]
    found = minimize(loss, np.zeros(len(bounds)), bounds=bounds).x
    return float(np.exp(-found[0])), found[1:] - found[1:].mean()


def class_balanced(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices that repeat rare classes, so that the many chests do not decide alone."""
    counts = np.bincount(labels)
    most = counts.max()
    return np.concatenate(
        [np.resize(np.flatnonzero(labels == c), min(most, 8 * counts[c])) for c in np.flatnonzero(counts)]
    )


def calibrate_body_part(twin: Weights, selection: list[Film], images: NDArray[np.uint8]) -> dict[str, Any]:
    """Temperatures of the softmax heads, biases of the router's classes, and thresholds of confidence and visibility.

    Args:
        twin: weights that never saw these films: the shipped ones, or those of the same recipe trained without them.
        selection: validation films.
        images: their canonical images.
    """
    reader = BodyPartReader(replace(twin, settings={**twin.settings, "calibration": {}}))
    outputs = reader.all_logits(images)
    answers = _answers(reader, outputs, selection, images, np.random.default_rng(505))
    temperatures: dict[str, float] = {}
    biases: dict[str, NDArray[np.float64]] = {}
    for name, (logits, labels) in answers.items():
        if name == "router5":
            temperatures[name], biases[name] = temperature_and_bias(logits, labels)
        elif name in SOFTMAX_HEADS:
            drawn = class_balanced(labels)
            temperatures[name] = temperature(logits[drawn], labels[drawn])
    calibration: dict[str, Any] = {
        "temperature": temperatures,
        "bias": {name: bias.tolist() for name, bias in biases.items()},
        "confident_above": {},
    }
    for name, (logits, labels) in answers.items():
        scores, right = _scored(logits / temperatures.get(name, 1.0) + biases.get(name, 0.0), labels)
        calibration["confident_above"][name] = _confidence_threshold(scores, right)
    targets = targets_of(selection)
    trained = np.array([region in twin.settings["trained_regions"] for region in REGIONS36])
    # The region is judged as it is said, in agreement with the router.
    scaled = BodyPartReader(replace(twin, settings={**twin.settings, "calibration": calibration}))
    said = scaled.probabilities({name: torch.from_numpy(logits) for name, logits in outputs.items()})["examined36"]
    known = (targets.examined >= 0) & trained[np.maximum(targets.examined, 0)]
    calibration["confident_above"]["examined36"] = _confidence_threshold(
        said[known].max(1), said[known].argmax(1) == targets.examined[known]
    )
    visible = np.where(trained, outputs["visible36"], np.float32(-30))
    calibration["visible_threshold"] = _visible_threshold(visible, targets.visible, targets.visible_known)
    return calibration


def _answers(
    reader: BodyPartReader,
    outputs: dict[str, NDArray[np.float32]],
    selection: list[Film],
    images: NDArray[np.uint8],
    generator: np.random.Generator,
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Logits and labels by head, over the films whose label is known; for changes to a picture, over changed ones."""
    targets = targets_of(selection)
    trained = np.array([region in reader.settings["trained_regions"] for region in REGIONS36])
    examined = (targets.examined >= 0) & trained[np.maximum(targets.examined, 0)]
    masked = np.where(trained, outputs["examined36"], np.float32(-1e4))
    view, children = targets.view.sum(1) == 1, targets.pediatric >= 0
    found = {
        "router5": (outputs["router5"], targets.router5),
        "examined36": (masked[examined], targets.examined[examined]),
        "view": (outputs["view"][view], targets.view[view].argmax(1)),
        "pediatric": (outputs["pediatric"][children], targets.pediatric[children]),
    }
    for name, usable in (
        ("orientation", targets.upright),
        ("inverted", targets.router5 >= 0),
        ("mirrored", targets.sided),
    ):
        pictures, labels = changed(images[usable], name, generator)
        found[name] = (reader.all_logits(pictures)[name], labels)
    return found


def changed(
    images: NDArray[np.uint8], change: str, generator: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pictures turned by a random number of quarters (`orientation`), or half of them `inverted` or `mirrored`.

    Returns:
        The pictures, and the number of quarter turns clockwise or whether each was changed.
    """
    labels = generator.integers(4 if change == "orientation" else 2, size=len(images))
    ways = {
        "orientation": lambda image, turns: np.rot90(image, -turns),
        "inverted": lambda image, yes: 255 - image if yes else image,
        "mirrored": lambda image, yes: image[:, ::-1] if yes else image,
    }
    return np.stack([ways[change](image, label) for image, label in zip(images, labels, strict=True)]), labels


def _scored(logits: NDArray[Any], labels: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Confidence of each answer and whether it is right, of a softmax head or of one with a single sigmoid."""
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], 1)
    powers = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = powers / powers.sum(1, keepdims=True)
    return probabilities.max(1), probabilities.argmax(1) == labels


def _visible_threshold(logits: NDArray[np.float32], truth: NDArray[np.float32], known: NDArray[np.bool_]) -> float:
    """The one threshold with the best micro F1; one for all regions, for most have few films."""
    probabilities, truth = 1 / (1 + np.exp(-logits[known])), truth[known] > 0.5
    grid = np.linspace(0.15, 0.75, 25)
    scores = [2 * ((probabilities >= t) & truth).sum() / ((probabilities >= t).sum() + truth.sum()) for t in grid]
    return float(grid[int(np.argmax(scores))])


def _confidence_threshold(scores: NDArray[np.float32], right: NDArray[np.bool_]) -> float:
    """The lowest score above which the wanted share of readings is right."""
    order = np.argsort(-scores)
    share = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero(share >= WANTED_ACCURACY)
    return float(scores[order[enough[-1]]]) if len(enough) else 1.0


def twin_of(weights: Weights, twin: Path | None) -> Weights:
    """The weights to calibrate on validation films: these, or their twin where these were trained on them too.

    Raises:
        WeightsUnusable: these saw the validation films and there is no twin of the same recipe that did not.
    """
    if weights.settings.get("held_out", "validation") == "validation":
        return weights
    if twin is None:
        raise WeightsUnusable(
            "these weights were trained on the validation films too, so these films tell nothing of them: train the "
            "same recipe with --hold-out validation and pass its weights by --twin"
        )
    other = load_weights(twin)
    if other.settings.get("held_out") != "validation" or other.settings["recipe"] != weights.settings["recipe"]:
        raise WeightsUnusable(f"{twin.name} is no twin: its recipe differs, or it saw the validation films")
    return other


def positive_scenes(
    selection: list[Film], images: NDArray[np.uint8], count: int, designs: tuple[str, ...], seed: int
) -> list[Scene]:
    """`count` films of the trunk with a rendered filter of one of the designs."""
    generator = np.random.default_rng(seed)
    carriers = [i for i, film in enumerate(selection) if can_carry_filter(film)]
    scenes: list[Scene] = []
    while len(scenes) < count and carriers:
        index = carriers[int(generator.integers(len(carriers)))]
        scene = compose(images[index], selection[index], True, generator, designs)
        if scene.box is not None:
            scenes.append(scene)
    return scenes


def validation_scenes(selection: list[Film], images: NDArray[np.uint8], side: int, positives: int) -> list[Scene]:
    """Scenes that set a threshold: films with filters on `side` pixels, and all films as they are."""
    pictures = np.stack([enlarged(image, side) for image in images])
    scenes = positive_scenes(selection, pictures, positives, tuple(TRAINING_DESIGNS), 101)
    return scenes + [Scene(image, None, None) for image in images]


def filter_threshold(weights: Weights, data: Path, cache: Path) -> dict[str, Any]:
    """`calibrate_filter` on scenes of the validation films.

    Raises:
        DataMissing: there is no data.
    """
    selection, images = backgrounds(data, {"validation"}, cache, {})
    return calibrate_filter(weights, validation_scenes(selection, images, SIZE, VALIDATION_POSITIVES))


def calibrate_filter(weights: Weights, scenes: list[Scene]) -> dict[str, Any]:
    """The lowest threshold that keeps the wanted specificity on pictures without a filter."""
    reader = IvcFilterReader(weights)
    scores = np.array([reading.score for reading in reader.read([scene.image for scene in scenes])])
    without = np.array([scene.box is None for scene in scenes])
    threshold = float(np.quantile(scores[without], WANTED_SPECIFICITY)) + 1e-4
    return {
        "threshold": min(0.99, max(0.1, threshold)),
        "validation_sensitivity": float((scores[~without] >= threshold).mean()),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Calibrate trained weights.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("models/weights"))
    parser.add_argument("--cache", type=Path, default=Path("var/models"))
    parser.add_argument("--twin", type=Path, help="body-part weights of the same recipe that never saw validation")
    parser.add_argument("--only", choices=("body_part", "ivc_filter"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    if arguments.only in (None, "body_part"):
        weights = load_weights(arguments.out / "body_part.pt")
        selection = [film for film in films(arguments.data) if film.split == "validation"]
        twin = twin_of(weights, arguments.twin)
        calibration = calibrate_body_part(twin, selection, images_of(selection, arguments.cache, SIZE))
        calibration["by"] = twin.sha256[:12]
        log.info("body_part: %s", calibration)
        save_weights(
            arguments.out / "body_part.pt",
            weights.state,
            weights.architecture,
            {**weights.settings, "calibration": calibration},
        )
    if arguments.only in (None, "ivc_filter"):
        weights = load_weights(arguments.out / "ivc_filter.pt")
        found = filter_threshold(weights, arguments.data, arguments.cache)
        log.info("ivc_filter: %s", found)
        save_weights(
            arguments.out / "ivc_filter.pt", weights.state, weights.architecture, {**weights.settings, **found}
        )


if __name__ == "__main__":
    main()
