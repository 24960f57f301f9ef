"""Training data: the shared films with their labels and splits, as cached 256-pixel canonical images.

Hold-out rule: a film whose SHA-256 starts with c, d, e or f is a test film (the simulated hospital shows those), and
nobody with a film among them is trained on. A source without patient ids is one group, so Hannover, CADMA and the
shoulder implants are wholly unseen in training: they are the external sources of every figure.
"""

from __future__ import annotations

import csv
import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.labels import REGIONS36, ROUTER5, examined_of, regions_of
from models.preprocess import NotReadable, canonical_of_values
from models.rendering import TRAINING_VOLUMES, renderings

log = logging.getLogger(__name__)
CACHE_SIDE = 256
EXTERNAL_SOURCES = ("hannover", "cadma", "shoulder")


class DataMissing(RuntimeError):  # noqa: N818
    """The shared data is not where it was looked for."""


@dataclass(frozen=True)
class Film:
    """One picture with what is known of it.

    Attributes:
        path: the file; None for a rendering.
        source: folder of the shared data (`unifesp`, …) or `rendered`.
        group: patient, or the whole source where patients are not told apart.
        split: `train`, `validation`, `test` (hash rule), or `held_out` (not a test film itself, but of a test patient).
        router5: class.
        examined: the one region examined, None when not known.
        visible: regions named visible, None when not known.
        age_years: patient age from the source, None when not given.
    """

    path: Path | None
    source: str
    group: str
    split: str
    router5: str
    examined: str | None
    visible: tuple[str, ...] | None
    age_years: float | None = None


def films(data: Path) -> list[Film]:
    """Films of the manifest that training and scores may use, in the manifest's order.

    Raises:
        DataMissing: there is no manifest.
    """
    manifest = data / "manifest.csv"
    if not manifest.is_file():
        raise DataMissing(f"no manifest.csv in {data}: training needs the shared data folder; pass its path by --data")
    with manifest.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["file"].startswith("radiographs/")]
    digits: dict[str, set[str]] = {}
    for row in rows:
        digits.setdefault(row["group"], set()).add(row["sha256"][0])
    result = []
    for row in rows:
        if row["router5"] not in ROUTER5:
            continue
        regions = regions_of(row["label"])
        result.append(
            Film(
                path=data / row["file"],
                source=row["file"].split("/")[1],
                group=row["group"],
                split=split_of(row["sha256"][0], digits[row["group"]]),
                router5=row["router5"],
                examined=None if regions is None else examined_of(regions),
                visible=regions,
                age_years=_age(row["extra"]),
            )
        )
    return result


def split_of(digit: str, group_digits: set[str]) -> str:
    """Split of a film by the first hex digit of its hash and those of all films of its group."""
    if digit in "cdef":
        return "test"
    if group_digits & set("cdef"):
        return "held_out"
    return "validation" if group_digits & set("ab") else "train"


def _age(extra: str) -> float | None:
    """Age of a remark such as `36Y PA`; a range such as `1-5Y` gives none."""
    match = re.match(r"(\d+)Y\b", extra)
    return float(match.group(1)) if match else None


def images_of(selection: list[Film], cache: Path) -> NDArray[np.uint8]:
    """Canonical images of films at 256 pixels, `(n, 256, 256)`, read from the cache where it has them."""
    key = hashlib.sha256("\n".join(str(film.path) for film in selection).encode()).hexdigest()[:16]
    stored = cache / f"films-{CACHE_SIDE}-{key}.npy"
    if stored.is_file():
        loaded: NDArray[np.uint8] = np.load(stored)
        return loaded
    log.info("reading %d films into %s", len(selection), stored)
    images = np.stack([shrink(canonical_film(film)) for film in selection])
    cache.mkdir(parents=True, exist_ok=True)
    partial = stored.with_suffix(".part.npy")
    np.save(partial, images)
    partial.rename(stored)
    return images


def canonical_film(film: Film) -> NDArray[np.uint8]:
    """The canonical 512-pixel image of a film that is a picture file; black where it shows nothing."""
    assert film.path is not None
    with Image.open(film.path) as picture:
        values = np.asarray(picture.convert("L"), dtype=np.float32)
    try:
        return canonical_of_values(values)
    except NotReadable:
        return np.zeros((512, 512), dtype=np.uint8)


def shrink(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """512 to 256 pixels by area averaging."""
    halves = image.reshape(CACHE_SIDE, 2, CACHE_SIDE, 2).astype(np.uint16).sum(axis=(1, 3))
    return ((halves + 2) // 4).astype(np.uint8)


def rendered_films(data: Path, count: int, seed: int, cache: Path) -> tuple[list[Film], NDArray[np.uint8]]:
    """Renderings from the training CT volumes with their images; empty where the volumes are absent."""
    if not all((data / "ct" / name).is_file() for name in TRAINING_VOLUMES):
        log.warning("no CT volumes in %s/ct: training goes on without renderings", data)
        return [], np.zeros((0, CACHE_SIDE, CACHE_SIDE), dtype=np.uint8)
    stored = cache / f"rendered-{CACHE_SIDE}-{count}-{seed}.npz"
    if not stored.is_file():
        log.info("rendering radiographs from CT")
        pictures = renderings(data / "ct", count, seed)
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(
            stored,
            images=np.stack([shrink(canonical_of_values(picture)) for picture, _ in pictures]),
            regions=np.array([region for _, region in pictures]),
        )
    with np.load(stored) as loaded:
        images, regions = loaded["images"], [str(region) for region in loaded["regions"]]
    return [_rendered(region) for region in regions], images


def _rendered(region: str) -> Film:
    router5 = "abdominal" if region == "ABDOMEN" else "spine"
    return Film(None, "rendered", "rendered", "train", router5, region, (region,) if region != "SPINE" else None)


@dataclass(frozen=True)
class Targets:
    """What films ask of the network, as arrays: router5 index; examined index or -1; visible 0/1 with a mask."""

    router5: NDArray[np.int64]
    examined: NDArray[np.int64]
    visible: NDArray[np.float32]
    visible_known: NDArray[np.bool_]


def targets_of(selection: list[Film]) -> Targets:
    """Targets of films, in their order."""
    visible = np.zeros((len(selection), len(REGIONS36)), dtype=np.float32)
    for row, film in enumerate(selection):
        for region in film.visible or ():
            visible[row, REGIONS36.index(region)] = 1
    return Targets(
        np.array([ROUTER5.index(film.router5) for film in selection], dtype=np.int64),
        np.array([-1 if f.examined is None else REGIONS36.index(f.examined) for f in selection], dtype=np.int64),
        visible,
        np.array([film.visible is not None for film in selection]),
    )


def sampling_weights(selection: list[Film]) -> NDArray[np.float64]:
    """Draw probabilities: router classes evenly, inside a class by the root of the region's and source's count."""
    cells: dict[tuple[str, str, str], int] = {}
    keys = [(film.router5, film.examined or "?", film.source) for film in selection]
    for key in keys:
        cells[key] = cells.get(key, 0) + 1
    weights = np.array([1 / np.sqrt(cells[key]) for key in keys])
    classes = np.array([film.router5 for film in selection])
    # 'others' holds most regions, so it gets twice the share of one class.
    for name in set(classes):
        weights[classes == name] *= (2.0 if name == "others" else 1.0) / weights[classes == name].sum()
    return np.asarray(weights / weights.sum())
