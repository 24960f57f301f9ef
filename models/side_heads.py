"""Figures of the heads beside router class and region: view, orientation, inversion, mirroring, childhood."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.body_part import BodyPartReader, BodyPartReading
from models.calibrate import changed
from models.data import Film, targets_of
from models.labels import VIEWS
from models.scores import summary


def side_heads(
    reader: BodyPartReader,
    selection: list[Film],
    images: NDArray[np.uint8],
    readings: list[BodyPartReading],
    groups: list[str],
) -> dict[str, Any]:
    """Figures of view, orientation, inversion, mirroring and childhood, each over the films whose truth is known."""

    def of(truth: NDArray[np.int64], said: NDArray[np.int64], rows: NDArray[np.int64]) -> dict[str, Any]:
        classes = int(max(truth.max(), said.max())) + 1
        figures = summary(truth, said, classes, [groups[i] for i in rows])
        figures["chance"] = float(np.bincount(truth).max() / len(truth))
        return figures

    targets = targets_of(selection)
    result: dict[str, Any] = {}
    known = np.flatnonzero(targets.view.sum(1) < targets.view.shape[1])
    views = np.array([VIEWS.index(str(reading.view.value)) for reading in readings])
    lateral = VIEWS.index("LATERAL")
    for source in sorted({selection[i].source for i in known}):
        rows = np.array([i for i in known if selection[i].source == source])
        truth = (targets.view[rows, lateral] == 1).astype(np.int64)
        result[f"lateral or frontal, {source}"] = of(truth, (views[rows] == lateral).astype(np.int64), rows)
    rows = np.array([i for i in known if selection[i].source == "nih"])
    if len(rows):
        result["AP or PA, nih"] = of(targets.view[rows].argmax(1), views[rows], rows)
    generator = np.random.default_rng(606)
    everything = np.arange(len(selection))
    # A pass over each film more: a part of those of the simulated hospital suffices.
    shown = np.array([film.split == "test" for film in selection])
    shown &= np.cumsum(shown) % 3 == 0
    for name, rows in (
        ("orientation", np.flatnonzero(targets.upright & shown)),
        ("inverted", np.flatnonzero(shown)),
        ("mirrored", np.flatnonzero(targets.sided & shown)),
    ):
        if not len(rows):
            continue
        pictures, truth = changed(images[rows], name, generator)
        logits = reader.all_logits(pictures)[name]
        said = logits.argmax(1) if name == "orientation" else (logits[:, 0] > 0).astype(np.int64)
        result[f"{name}, on changed films"] = of(truth, said, rows)
    chests = np.array([i for i in everything if targets.pediatric[i] >= 0 and readings[i].pediatric is not None])
    children = np.array([int(bool(r.pediatric and r.pediatric.value)) for r in readings])
    if len(chests):
        result["pediatric, chests of all sources"] = of(targets.pediatric[chests], children[chests], chests)
    rows = np.array([i for i in chests if selection[i].source == "nih"])
    if len(rows):
        result["pediatric, nih alone"] = of(targets.pediatric[rows], children[rows], rows)
    return result
