"""Calibrate trained weights on the validation split: temperatures, confidence and score thresholds.

`python -m models.calibrate --data ../shared/data --out models/weights` reads the weights in `--out`, adds what it
finds to their settings and writes them again, so that one digest covers weights and thresholds.
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

from models.body_part import BodyPartReader
from models.data import Film, films, images_of, targets_of
from models.filter_data import Scene, backgrounds, can_carry_filter, compose
from models.ivc_filter import IvcFilterReader
from models.labels import REGIONS36
from models.weights_files import Weights, load_weights, save_weights
from models.wires import TRAINING_DESIGNS

log = logging.getLogger("models.calibrate")
WANTED_ACCURACY = 0.98
"""Of the readings called confident, on the validation split."""
WANTED_SPECIFICITY = 0.99
"""Of the detector, on validation films without a filter."""


def temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The temperature that minimises the negative log likelihood (Guo et al. 2017), from a grid."""
    grid = np.exp(np.linspace(np.log(0.3), np.log(4), 60))
    losses = [float(_nll(logits / t, labels)) for t in grid]
    return float(grid[int(np.argmin(losses))])


def _nll(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    logits = logits - logits.max(1, keepdims=True)
    chosen = logits[np.arange(len(labels)), labels]
    return float((np.log(np.exp(logits).sum(1)) - chosen).mean())


def class_balanced(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices that repeat rare classes, so that the many chests do not decide alone."""
    counts = np.bincount(labels)
    most = counts.max()
    return np.concatenate(
        [np.resize(np.flatnonzero(labels == c), min(most, 8 * counts[c])) for c in np.flatnonzero(counts)]
    )


def calibrate_body_part(weights: Weights, selection: list[Film], images: NDArray[np.uint8]) -> dict[str, Any]:
    """Temperatures of both softmax heads, the confidence threshold, and the threshold of the visible head."""
    reader = BodyPartReader(replace(weights, settings={**weights.settings, "calibration": {}}))
    logits = {name: [] for name in ("router5", "examined36", "visible36")}  # type: dict[str, list[NDArray[np.float32]]]
    for start in range(0, len(images), 64):
        for name, tensor in reader.logits(images[start : start + 64]).items():
            logits[name].append(tensor.numpy())
    outputs = {name: np.concatenate(parts) for name, parts in logits.items()}
    targets = targets_of(selection)
    drawn = class_balanced(targets.router5)
    router = temperature(outputs["router5"][drawn], targets.router5[drawn])
    trained = np.array([region in weights.settings["trained_regions"] for region in REGIONS36])
    known = (targets.examined >= 0) & trained[np.maximum(targets.examined, 0)]
    masked = np.where(trained, outputs["examined36"], np.float32(-1e4))
    drawn = np.flatnonzero(known)[class_balanced(targets.examined[known])]
    examined = temperature(masked[drawn], targets.examined[drawn])
    calibration = {"router5_temperature": router, "examined36_temperature": examined}
    calibration["visible_threshold"] = _visible_threshold(outputs["visible36"], targets.visible, targets.visible_known)

    scored = BodyPartReader(replace(weights, settings={**weights.settings, "calibration": calibration}))
    probabilities = scored.probabilities({name: torch.from_numpy(array) for name, array in outputs.items()})["router5"]
    right = probabilities.argmax(1) == targets.router5
    calibration["confident_above"] = _confidence_threshold(probabilities.max(1), right)
    return calibration


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
    parser.add_argument("--only", choices=("body_part", "ivc_filter"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    if arguments.only in (None, "body_part"):
        weights = load_weights(arguments.out / "body_part.pt")
        selection = [film for film in films(arguments.data) if film.split == "validation"]
        calibration = calibrate_body_part(weights, selection, images_of(selection, arguments.cache))
        log.info("body_part: %s", calibration)
        save_weights(
            arguments.out / "body_part.pt",
            weights.state,
            weights.architecture,
            {**weights.settings, "calibration": calibration},
        )
    if arguments.only in (None, "ivc_filter"):
        weights = load_weights(arguments.out / "ivc_filter.pt")
        selection, images = backgrounds(arguments.data, {"validation"}, arguments.cache, {})
        scenes = positive_scenes(selection, images, 60, tuple(TRAINING_DESIGNS), 101)
        found = calibrate_filter(weights, scenes + [Scene(image, None, None) for image in images])
        log.info("ivc_filter: %s", found)
        save_weights(
            arguments.out / "ivc_filter.pt", weights.state, weights.architecture, {**weights.settings, **found}
        )


if __name__ == "__main__":
    main()
