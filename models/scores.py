"""Scores of classifiers: macro precision, recall, F1 with bootstrap intervals over patients, calibration, Wilson."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]


def confusion(truth: Labels, said: Labels, classes: int) -> NDArray[np.int64]:
    """Counts by truth (rows) and answer (columns)."""
    return np.bincount(truth * classes + said, minlength=classes * classes).reshape(classes, classes)


def per_class(matrix: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Precision, recall, F1 and support by class; NaN for a class without films."""
    hits, said, support = np.diag(matrix), matrix.sum(0), matrix.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = np.where(support > 0, hits / support, np.nan)
        precision = np.where(said > 0, hits / said, np.where(support > 0, 0.0, np.nan))
        f1 = np.where(support > 0, 2 * hits / (said + support), np.nan)
    return {"precision": precision, "recall": recall, "f1": f1, "support": support.astype(float)}


def macro_f1(matrix: NDArray[np.int64]) -> float:
    """Mean F1 over the classes that occur."""
    return float(np.nanmean(per_class(matrix)["f1"]))


def summary(
    truth: Labels, said: Labels, classes: int, groups: list[str], seed: int = 1, draws: int = 500
) -> dict[str, Any]:
    """Accuracy and macro scores with 95 % intervals from resampling groups (patients) with replacement."""
    matrix = confusion(truth, said, classes)
    scores = per_class(matrix)
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    # One confusion matrix a group: a draw is then a weighted sum.
    by_group = np.zeros((len(names), classes * classes))
    np.add.at(by_group, (index, truth * classes + said), 1)
    generator = np.random.default_rng(seed)
    drawn_f1, drawn_accuracy = [], []
    for _ in range(draws):
        counts = np.bincount(generator.integers(len(names), size=len(names)), minlength=len(names))
        sample = (counts @ by_group).reshape(classes, classes)
        drawn_f1.append(macro_f1(sample.astype(np.int64)))
        drawn_accuracy.append(np.trace(sample) / max(1, sample.sum()))
    return {
        "films": len(truth),
        "patients": len(names),
        "accuracy": float((truth == said).mean()),
        "accuracy_ci95": _interval(drawn_accuracy),
        "macro_precision": float(np.nanmean(scores["precision"][scores["support"] > 0])),
        "macro_recall": float(np.nanmean(scores["recall"])),
        "macro_f1": macro_f1(matrix),
        "macro_f1_ci95": _interval(drawn_f1),
    }


def _interval(values: list[float]) -> list[float]:
    low, high = np.percentile(values, (2.5, 97.5))
    return [float(low), float(high)]


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int = 10) -> float:
    """Expected calibration error over equal-width bins."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    error = 0.0
    for b in range(bins):
        here = place == b
        if here.any():
            error += here.mean() * abs(confidence[here].mean() - right[here].mean())
    return float(error)


def wilson(hits: int, total: int) -> list[float]:
    """95 % interval of a share (Wilson 1927)."""
    if total == 0:
        return [0.0, 1.0]
    z, share = 1.959964, hits / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return [max(0.0, middle - half), min(1.0, middle + half)]
