"""Measure detectors of IVC filters on the same scenes, whatever side of pictures each of them reads.

`python -m models.compare_filters --data ../shared/data first.pt second.pt` sets the threshold of each by the same
validation films (99 % specificity) and prints the measures of `models.evaluate` side by side. Scenes are composed on
1,024 pixels; a detector of 512 is shown their means of 2 x 2 pixels, as the canonical image is of a film.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.calibrate import VALIDATION_POSITIVES, calibrate_filter, validation_scenes
from models.data import Film, canonical_film
from models.evaluate import evaluate_filter, thinned, unseen_films
from models.filter_data import Scene, backgrounds
from models.framing import DETAIL_SIDE
from models.ivc_filter import IvcFilterReader
from models.weights_files import Weights, load_weights, save_weights

log = logging.getLogger("models.compare_filters")


def calibrated(weights: Weights, scenes: list[Scene]) -> Weights:
    """The weights with the threshold that these scenes give."""
    return replace(weights, settings={**weights.settings, **calibrate_filter(weights, scenes)})


def compare(
    candidates: dict[str, Weights],
    data: Path,
    scenes: list[Scene],
    selection: list[Film],
    images: NDArray[np.uint8],
    scenes_of: int = 1,
    side: int = DETAIL_SIDE,
) -> dict[str, dict[str, Any]]:
    """Figures of `models.evaluate.evaluate_filter` of each candidate, its threshold set by `scenes`."""
    figures = {}
    for name, weights in candidates.items():
        reader = IvcFilterReader(calibrated(weights, scenes), precision="float32")
        figures[name] = evaluate_filter(reader, data, selection, images, side, scenes_of)
        log.info("%s: %s", name, json.dumps(summary(figures[name])))
    return figures


def summary(figures: dict[str, Any]) -> dict[str, float]:
    """The figures of one detector that are compared, in a line."""
    found = {f"{name}, found": one["sensitivity"] for name, one in figures["sensitivity_synthetic"].items()}
    placed = {f"{name}, placed": one["located"] for name, one in figures["sensitivity_synthetic"].items()}
    false = figures["false_positives_real_films"]
    alarms = {f"false of 1,000, {name}": false[name]["per_1000"] for name in ("all", "trunk_films_with_drawn_metal")}
    return {name: round(value, 3) for name, value in {**found, **placed, **alarms}.items()} | {
        "threshold": figures["threshold"]
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Measure detectors of IVC filters on the same scenes.")
    parser.add_argument("weights", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("var/models"))
    parser.add_argument("--films", type=int, default=400, help="real films for false positives, at most")
    parser.add_argument("--scenes-of", type=int, default=1, help="how many times the usual number of scenes")
    parser.add_argument("--out", type=Path, help="JSON file of all figures")
    parser.add_argument("--write", type=Path, help="write the last weights here with the threshold found")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    candidates = {str(path): load_weights(path) for path in arguments.weights}
    known, films = backgrounds(arguments.data, {"validation"}, arguments.cache, {})
    scenes = validation_scenes(known, films, DETAIL_SIDE, VALIDATION_POSITIVES)
    if arguments.write is not None:
        last = calibrated(list(candidates.values())[-1], scenes)
        save_weights(arguments.write, last.state, last.architecture, last.settings)

    selection = thinned(unseen_films(arguments.data), arguments.films)
    images = np.stack([canonical_film(film) for film in selection])
    figures = compare(candidates, arguments.data, scenes, selection, images, arguments.scenes_of)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
