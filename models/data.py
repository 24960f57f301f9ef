"""Training data: the shared films with their labels and splits, as cached 320-pixel canonical images.

Hold-out rule: a patient with a film whose SHA-256 starts with e or f is a test patient: nobody trains on any film of
his, and the simulated hospital shows them. A source without patient ids is one group, so Hannover, CADMA and the
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

from models.framing import NotReadable, canonical_of_values
from models.labels import (
    PEDIATRIC_BELOW_YEARS,
    REGIONS36,
    ROUTER5,
    ROUTER5_OF_REGION,
    UPRIGHT_REGIONS,
    VIEWS,
    examined_of,
    regions_of,
)
from models.rendering import TRAINING_VOLUMES, renderings

log = logging.getLogger(__name__)
CACHE_SIDE = 320
TEST_DIGITS, VALIDATION_DIGITS = "ef", "cd"
SYNTHETIC = ("rendered", "collage")
EXTERNAL_SOURCES = ("hannover", "cadma", "shoulder")


FILMS_READ = Path(__file__).parent / "films_read.csv"
CONTRADICTS_LABEL = "contradicts-label"
"""Remark on a film that plainly shows another part than its label says: left out of training, kept in tests."""


class DataMissing(RuntimeError):  # noqa: N818
    """The shared data is not where it was looked for."""


@dataclass(frozen=True)
class Film:
    """One picture with what is known of it.

    Attributes:
        path: the file; None for a rendering.
        source: folder of the shared data (`unifesp`, …) or `rendered`.
        group: patient, or the whole source where patients are not told apart.
        split: `train`, `validation` or `test`, by patient (hash rule).
        router5: class.
        examined: the one region examined, None when not known.
        visible: regions named visible, None when not known.
        age_years: patient age from the source, None when not given.
        view: `AP`, `PA`, `LATERAL`, `FRONTAL` (either of the first two), None when not known.
    """

    path: Path | None
    source: str
    group: str
    split: str
    router5: str
    examined: str | None
    visible: tuple[str, ...] | None
    age_years: float | None = None
    view: str | None = None

    @property
    def pediatric(self) -> bool | None:
        """Whether the patient is a child, by router class or age; None when not known."""
        if self.router5 in ("pediatric_chest", "adult_chest"):
            return self.router5 == "pediatric_chest"
        if self.source == "rendered":
            return False
        return None if self.age_years is None else self.age_years < PEDIATRIC_BELOW_YEARS


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
    read = _films_read()
    digits: dict[str, set[str]] = {}
    for row in rows:
        digits.setdefault(row["group"], set()).add(row["sha256"][0])
    result = []
    for row in rows:
        if row["router5"] not in ROUTER5:
            continue
        regions = regions_of(row["label"])
        source = row["file"].split("/")[1]
        split = split_of(digits[row["group"]])
        view, remark = read.get(row["sha256"][:16], ("", ""))
        if remark == CONTRADICTS_LABEL and split in ("train", "validation"):
            continue
        result.append(
            Film(
                path=data / row["file"],
                source=source,
                group=row["group"],
                split=split,
                router5=row["router5"],
                examined=None if regions is None else examined_of(regions),
                visible=regions,
                age_years=_age(row["extra"]),
                view=view or _view(source, row["extra"]),
            )
        )
    return result


def split_of(digits: set[str]) -> str:
    """Split of a patient by the first hex digits of the hashes of all his films."""
    if digits & set(TEST_DIGITS):
        return "test"
    return "validation" if digits & set(VALIDATION_DIGITS) else "train"


def _age(extra: str) -> float | None:
    """Age of a remark such as `36Y PA`; a range such as `1-5Y` gives none."""
    match = re.match(r"(\d+)Y\b", extra)
    return float(match.group(1)) if match else None


def _view(source: str, extra: str) -> str | None:
    """View of a remark such as `36Y PA`; Kermany's and CADMA's are all AP (README of the data)."""
    if source in ("kermany", "cadma"):
        return "AP"
    words = extra.split()
    return words[-1] if source == "nih" and words and words[-1] in ("AP", "PA") else None


def _films_read() -> dict[str, tuple[str, str]]:
    """What the developers read in thumbnails, by the first 16 digits of a film's hash: view and remark."""
    with FILMS_READ.open(newline="", encoding="utf-8") as stream:
        return {row["sha256_start"]: (row["view"], row["remark"]) for row in csv.DictReader(stream)}


def images_of(selection: list[Film], cache: Path, side: int = CACHE_SIDE) -> NDArray[np.uint8]:
    """Canonical images of films, `(n, side, side)`, read from the cache where it has them."""
    key = hashlib.sha256("\n".join(str(film.path) for film in selection).encode()).hexdigest()[:16]
    stored = cache / f"films-{side}-{key}.npy"
    if stored.is_file():
        loaded: NDArray[np.uint8] = np.load(stored)
        return loaded
    log.info("reading %d films into %s", len(selection), stored)
    images = np.stack([shrink(canonical_film(film), side) for film in selection])
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


def shrink(image: NDArray[np.uint8], side: int = CACHE_SIDE) -> NDArray[np.uint8]:
    """A square image brought to `side` pixels by area averaging."""
    if image.shape[0] == side:
        return image
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BOX))


def rendered_films(
    data: Path, count: int, seed: int, cache: Path, side: int = CACHE_SIDE
) -> tuple[list[Film], NDArray[np.uint8]]:
    """Renderings from the training CT volumes with their images; empty where the volumes are absent."""
    if not all((data / "ct" / name).is_file() for name in TRAINING_VOLUMES):
        log.warning("no CT volumes in %s/ct: training goes on without renderings", data)
        return [], np.zeros((0, side, side), dtype=np.uint8)
    stored = cache / f"rendered-{side}-{count}-{seed}.npz"
    if not stored.is_file():
        log.info("rendering radiographs from CT")
        made = renderings(data / "ct", count, seed)
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(
            stored,
            images=np.stack([shrink(canonical_of_values(one.picture), side) for one in made]),
            labels=np.array([(one.region, one.view) for one in made]),
        )
    with np.load(stored) as loaded:
        images, labels = loaded["images"], [(str(region), str(view)) for region, view in loaded["labels"]]
    return [_rendered(region, view) for region, view in labels], images


def _rendered(region: str, view: str) -> Film:
    visible = ("TSPINE", "LSPINE") if region == "SPINE" else (region,)
    router5 = ROUTER5_OF_REGION.get(region, "others")
    return Film(None, "rendered", "rendered", "train", router5, region, visible, view=view)


@dataclass(frozen=True)
class Targets:
    """What films ask of the network, as arrays with a row a film.

    Attributes:
        router5: class index.
        examined: region index, or -1.
        visible: 0/1 `(n, 36)`; `visible_known` says whether it counts.
        view: 1 for each view it may be `(n, 3)`; all 1 where not known.
        upright: whether the picture is upright by custom, so that turning it means something.
        sided: whether mirroring it shows: a frontal chest, whose heart lies left.
        pediatric: 1, 0, or -1 where not known.
    """

    router5: NDArray[np.int64]
    examined: NDArray[np.int64]
    visible: NDArray[np.float32]
    visible_known: NDArray[np.bool_]
    view: NDArray[np.float32]
    upright: NDArray[np.bool_]
    sided: NDArray[np.bool_]
    pediatric: NDArray[np.int64]


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
        np.array([_views(film.view) for film in selection], dtype=np.float32).reshape(len(selection), len(VIEWS)),
        np.array([film.examined in UPRIGHT_REGIONS for film in selection]),
        np.array([film.examined == "CHEST" and film.view in ("AP", "PA", "FRONTAL") for film in selection]),
        np.array([-1 if film.pediatric is None else int(film.pediatric) for film in selection], dtype=np.int64),
    )


def _views(view: str | None) -> list[float]:
    if view is None:
        return [1.0] * len(VIEWS)
    return [float(view == name or (view == "FRONTAL" and name != "LATERAL")) for name in VIEWS]


SYNTHETIC_SHARE = 0.5
"""Weight of a rendering or a collage beside a real film of the same count."""


def sampling_weights(selection: list[Film]) -> NDArray[np.float64]:
    """Draw probabilities: router classes evenly, inside a class by the root of the region's and source's count."""
    cells: dict[tuple[str, str, str], int] = {}
    keys = [(film.router5, film.examined or "?", film.source) for film in selection]
    for key in keys:
        cells[key] = cells.get(key, 0) + 1
    weights = np.array([_share(*key[1:]) / np.sqrt(cells[key]) for key in keys])
    classes = np.array([film.router5 for film in selection])
    # 'others' holds most regions, so it gets twice the share of one class.
    for name in set(classes):
        weights[classes == name] *= (2.0 if name == "others" else 1.0) / weights[classes == name].sum()
    return np.asarray(weights / weights.sum())


def _share(region: str, source: str) -> float:
    # Real films of whole spines are too few to speak for that kind of film.
    return SYNTHETIC_SHARE if source in SYNTHETIC and (region, source) != ("SPINE", "collage") else 1.0
