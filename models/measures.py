"""What the registry of models keeps of a measurement: figures for people, and answers film by film for the gate.

Two models are compared on the same films only, so the set has a digest over its films and their labels in order.
"""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.body_part import BodyPartReader
from models.calibrate import positive_scenes
from models.data import EXTERNAL_SOURCES, Film, canonical_film, images_of
from models.evaluate import thinned, unseen_films
from models.filter_data import can_carry_filter
from models.framing import SIZE
from models.ivc_filter import IvcFilterReader
from models.labels import REGIONS36, ROUTER5
from models.scores import summary, wilson
from models.wires import TRAINING_DESIGNS, UNSEEN_DESIGN

FILTER_FILMS, FILTER_SCENES = 400, 100  # films without a filter, films with a rendered one
HERE = "films of this site"
DESIGNS, SEED = (*TRAINING_DESIGNS, UNSEEN_DESIGN), 202

Measured = dict[str, Any]
Mask = NDArray[np.bool_]


def measured(task: str, weights: Path, data: Path, cache: Path) -> Measured:
    """Measure weights on the films that no training sees: `evaluation_set` (digest), `set_name`, `films`, `patients`,
    `metrics` (name → value, ci95, films) and `answers` (as `sluice.registry.gate.compare` takes them).

    Raises:
        WeightsUnusable: missing, damaged or foreign weights.
        DataMissing: there is no data.
    """
    selection = unseen_films(data)
    if task == "body_part":
        reader, images = BodyPartReader.load(weights), images_of(selection, cache, SIZE)
        digest = _digest(data, selection, "body_part")
        return of_body_part(reader, selection, images, digest, "unseen films", _subsets(selection))
    return of_filter(IvcFilterReader.load(weights), selection, data)


def measured_here(
    task: str, weights: Path, selection: list[Film], labels: list[str], images: NDArray[np.uint8], digest: str
) -> Measured:
    """As `measured`, on films of a site that people labelled: no sources apart, and of filters real ones.

    Args:
        selection: the films; of `ivc_filter` only their patients count.
        labels: of each film, for `ivc_filter`: `present` or `absent`.
        digest: of the set.

    Raises:
        WeightsUnusable: missing, damaged or foreign weights.
    """
    if task == "body_part":
        everything = {"all": np.ones(len(selection), dtype=bool)}
        measure = of_body_part(BodyPartReader.load(weights), selection, images, digest, HERE, everything)
    else:
        measure = of_real_filters(IvcFilterReader.load(weights), selection, labels, images, digest)
    return measure | {"films_of": "site"}


def of_body_part(
    reader: BodyPartReader,
    selection: list[Film],
    images: NDArray[np.uint8],
    digest: str,
    set_name: str,
    subsets: dict[str, Mask],
) -> Measured:
    """Router class (macro F1), examined region and all visible regions (share of right films), from pictures alone.

    Args:
        digest, set_name: of the set.
        subsets: films that have figures of their own, by name; `all` of them are all.
    """
    readings = reader.read(list(images))
    truth = np.array([ROUTER5.index(film.router5) for film in selection], dtype=np.int64)
    said = np.array([ROUTER5.index(reading.router5) for reading in readings], dtype=np.int64)
    examined = [
        None if film.examined is None else int(reading.examined == film.examined)
        for film, reading in zip(selection, readings, strict=True)
    ]
    visible = [
        None if film.visible is None else int(set(reading.visible) == set(film.visible))
        for film, reading in zip(selection, readings, strict=True)
    ]
    patients = [_patient(film) for film in selection]
    metrics: dict[str, Any] = {}
    for name, chosen in subsets.items():
        suffix = "" if name == "all" else f", {name}"
        groups = [patients[i] for i in np.flatnonzero(chosen)]
        of = summary(truth[chosen], said[chosen], len(ROUTER5), groups)
        metrics[f"router5 macro F1{suffix}"] = _figure(of["macro_f1"], of["macro_f1_ci95"], of["films"])
        for what, right in (("examined right", examined), ("visible right", visible)):
            known = [i for i in np.flatnonzero(chosen) if right[i] is not None]
            if known:
                ones = np.ones(len(known), dtype=np.int64)
                hits = np.array([right[i] for i in known], dtype=np.int64)
                share = summary(ones, hits, 2, [patients[i] for i in known])
                metrics[f"{what}{suffix}"] = _figure(share["accuracy"], share["accuracy_ci95"], len(known))
    measures = {
        "router5 macro F1": {"kind": "macro_f1", "truth": truth.tolist(), "said": said.tolist()},
        "examined right": {"kind": "share", "right": examined},
        "visible right": {"kind": "share", "right": visible},
    }
    kept = {name: one for name, one in measures.items() if name in metrics}
    return _measurement(digest, set_name, patients, metrics, kept)


def of_filter(reader: IvcFilterReader, selection: list[Film], data: Path) -> Measured:
    """Sensitivity on films with rendered filters (synthetic), specificity on real films without one."""
    chosen = _without_filter(selection)
    pictures = np.stack([canonical_film(film) for film in chosen])
    carriers = [i for i, film in enumerate(chosen) if can_carry_filter(film)]
    scenes = positive_scenes([chosen[i] for i in carriers], pictures[carriers], FILTER_SCENES, DESIGNS, SEED)
    found = [int(reading.present) for reading in reader.read([scene.image for scene in scenes])]
    clear = [int(not reading.present) for reading in reader.read(list(pictures))]
    # A scene is a film of its own: what is drawn anew each time is no patient's.
    patients = [*(f"scene {number}" for number in range(len(scenes))), *(_patient(film) for film in chosen)]
    metrics = {
        "sensitivity (synthetic filters)": _figure(sum(found) / max(1, len(found)), wilson(sum(found), len(found)),
                                                   len(found)),
        "specificity (real films)": _figure(sum(clear) / max(1, len(clear)), wilson(sum(clear), len(clear)),
                                            len(clear)),
    }  # fmt: skip
    measures = {
        "sensitivity (synthetic filters)": {"kind": "share", "right": [*found, *(None for _ in clear)]},
        "specificity (real films)": {"kind": "share", "right": [*(None for _ in found), *clear]},
    }
    digest = _digest(data, chosen, "ivc_filter")
    return _measurement(digest, "unseen films and rendered filters", patients, metrics, measures)


def of_real_filters(
    reader: IvcFilterReader, selection: list[Film], labels: list[str], images: NDArray[np.uint8], digest: str
) -> Measured:
    """Sensitivity and specificity on real films that people labelled `present` or `absent`."""
    said = [reading.present for reading in reader.read(list(images))]
    metrics, measures = {}, {}
    for name, label in (("sensitivity (real filters)", "present"), ("specificity (real films)", "absent")):
        right = [int(one == (label == "present")) if known == label else None
                 for one, known in zip(said, labels, strict=True)]  # fmt: skip
        counted = [one for one in right if one is not None]
        if counted:
            hits = sum(counted)
            metrics[name] = _figure(hits / len(counted), wilson(hits, len(counted)), len(counted))
            measures[name] = {"kind": "share", "right": right}
    return _measurement(digest, HERE, [film.group for film in selection], metrics, measures)


def evaluation_set(task: str, data: Path) -> str:
    """SHA-256 of the set that a task is measured on now, without measuring.

    Raises:
        DataMissing: there is no data.
    """
    selection = unseen_films(data)
    return _digest(data, selection if task == "body_part" else _without_filter(selection), task)


def _without_filter(selection: list[Film]) -> list[Film]:
    return thinned([film for film in selection if film.split == "test"], FILTER_FILMS)


def _digest(data: Path, selection: list[Film], task: str) -> str:
    """Over what is asked, and the films' own digests and labels in order."""
    with (data / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        digests = {row["file"]: row["sha256"] for row in csv.DictReader(stream)}
    asked = [task, REGIONS36] if task == "body_part" else [task, FILTER_SCENES, DESIGNS, SEED]
    films = [
        [digests[film.path.relative_to(data).as_posix()], film.router5, film.examined, film.visible]
        for film in selection
        if film.path is not None
    ]
    return hashlib.sha256(json.dumps([asked, films]).encode()).hexdigest()


def _subsets(selection: list[Film]) -> dict[str, Mask]:
    external = np.array([film.source in EXTERNAL_SOURCES for film in selection])
    subsets = {"all": np.ones(len(selection), dtype=bool), "internal": ~external, "external": external}
    subsets |= {name: np.array([film.source == name for film in selection]) for name in sorted(_sources(selection))}
    return {name: chosen for name, chosen in subsets.items() if chosen.any()}


def _sources(selection: list[Film]) -> set[str]:
    return {film.source for film in selection}


def _patient(film: Film) -> str:
    return str(film.path) if film.source in EXTERNAL_SOURCES else film.group


def _figure(value: float, interval: list[float], films: int) -> dict[str, Any]:
    return {"value": round(float(value), 4), "ci95": [round(float(edge), 4) for edge in interval], "films": films}


def _measurement(
    digest: str, name: str, patients: list[str], metrics: dict[str, Any], measures: dict[str, Any]
) -> Measured:
    numbers: dict[str, int] = {}
    of_each = [numbers.setdefault(patient, len(numbers)) for patient in patients]
    return {
        "evaluation_set": digest,
        "set_name": name,
        "films": len(patients),
        "patients": len(numbers),
        "metrics": metrics,
        "answers": {"patients": of_each, "measures": measures},
    }
