"""Pictures for the IVC-filter detector: real films with rendered filters, and films and hard negatives without.

There is no real film with a filter in the shared data: every positive is synthetic, and every figure says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.data import Film, canonical_film, films
from models.wires import TRAINING_DESIGNS, add_metal, draw_distractors, place_filter

SIDE = 512
TRUNK_REGIONS = {"ABDOMEN", "PELVIS", "LSPINE", "TSPINE", "SPINE", "CHEST", "HIP"}
"""Films on which a filter can stand; all others are negatives only."""


@dataclass(frozen=True)
class Scene:
    """A picture and the filter in it: uint8 512 x 512; box x0, y0, x1, y1 in pixels, None without a filter."""

    image: NDArray[np.uint8]
    box: tuple[float, float, float, float] | None
    design: str | None


def thinned_by_source(candidates: list[Film], limits: dict[str, int]) -> list[Film]:
    """At most `limits[source]` films of each source, evenly picked."""
    chosen: list[Film] = []
    for source in sorted({film.source for film in candidates}):
        of_source = [film for film in candidates if film.source == source]
        if source == "unifesp":
            # Chests are plenty elsewhere; everything else counts in full.
            of_source.sort(key=lambda film: film.router5.endswith("chest"))
        limit = limits.get(source, len(of_source))
        if source != "unifesp" and len(of_source) > limit:
            of_source = [of_source[int(i)] for i in np.linspace(0, len(of_source) - 1, limit)]
        chosen += of_source[:limit]
    return chosen


def backgrounds(
    data: Path, splits: set[str], cache: Path, limits: dict[str, int]
) -> tuple[list[Film], NDArray[np.uint8]]:
    """Films of the given splits with canonical images; at most `limits[source]` of a source, evenly picked."""
    chosen = thinned_by_source([film for film in films(data) if film.split in splits], limits)
    stored = cache / f"backgrounds-{'-'.join(sorted(splits))}-{len(chosen)}.npy"
    if stored.is_file():
        images: NDArray[np.uint8] = np.load(stored)
        return chosen, images
    images = np.stack([canonical_film(film) for film in chosen])
    cache.mkdir(parents=True, exist_ok=True)
    np.save(stored, images)
    return chosen, images


def can_carry_filter(film: Film) -> bool:
    """Whether the film shows a part of the trunk where a filter could lie."""
    return film.router5 in ("abdominal", "adult_chest") or bool(TRUNK_REGIONS & set(film.visible or ()))


def compose(
    image: NDArray[np.uint8],
    film: Film,
    positive: bool,
    generator: np.random.Generator,
    designs: tuple[str, ...] = tuple(TRAINING_DESIGNS),
) -> Scene:
    """A film with or without a rendered filter, half of the time with other metal on it."""
    grey = image.astype(np.float32) / 255
    rows, columns = (np.flatnonzero(image.max(axis=a) > 8) for a in (1, 0))
    if len(rows) < 64 or len(columns) < 48:
        return Scene(image, None, None)
    top, bottom, left, right = rows[0], rows[-1], columns[0], columns[-1]
    pixels_per_mm = generator.uniform(0.95, 2.1)
    # Room above the brightest bone, for metal is brighter still; films without metal get it alike.
    grey *= np.float32(generator.uniform(0.6, 0.9))
    layer = np.zeros((SIDE, SIDE), dtype=np.float32)
    if generator.random() < 0.5:
        layer += draw_distractors((SIDE, SIDE), pixels_per_mm, generator)
    box, design = None, None
    blur = generator.uniform(0.2, 0.9)
    if positive:
        design = str(generator.choice(designs))
        across = generator.normal(0.48, 0.12) if generator.random() < 0.75 else generator.uniform(0.1, 0.9)
        down = generator.uniform(0.6, 0.95) if film.router5 == "adult_chest" else generator.uniform(0.12, 0.85)
        x = left + np.clip(across, 0.06, 0.94) * (right - left)
        y = top + down * (bottom - top)
        placed = place_filter(design, (SIDE, SIDE), (x, y), pixels_per_mm, generator)
        layer += placed.layer
        x0, y0, x1, y1 = placed.box
        box = (max(0.0, x0), max(0.0, y0), min(SIDE - 1.0, x1), min(SIDE - 1.0, y1))
    grey = add_metal(grey, layer, float(np.exp(generator.uniform(np.log(0.14), np.log(0.6)))), blur)
    outside = image == 0
    content = np.zeros_like(outside)
    content[top : bottom + 1, left : right + 1] = True
    grey[outside & ~content] = 0
    return Scene((grey * 255 + 0.5).astype(np.uint8), box, design)


def film_changes(image: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    """Tone and noise changes that every picture gets alike, with or without a filter."""
    grey = image.astype(np.float32) / 255
    grey = grey ** np.float32(np.exp(generator.uniform(-0.4, 0.4)))
    grey = (grey - generator.uniform(-0.1, 0.1)) / generator.uniform(0.8, 1.1)
    if generator.random() < 0.5:
        grey += generator.normal(0, generator.uniform(0, 0.04), grey.shape).astype(np.float32)
    return (np.clip(grey, 0, 1) * 255).astype(np.uint8)


def heat_target(
    boxes: list[tuple[float, float, float, float] | None], side: int, stride: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Heatmaps `(n, s, s)`, log sizes `(n, 2, s, s)` and where they count, for crops of `side` pixels."""
    cells = side // stride
    heat = np.zeros((len(boxes), cells, cells), dtype=np.float32)
    size = np.zeros((len(boxes), 2, cells, cells), dtype=np.float32)
    counts = np.zeros((len(boxes), cells, cells), dtype=bool)
    ys, xs = np.mgrid[:cells, :cells]
    for index, box in enumerate(boxes):
        if box is None:
            continue
        width, height = box[2] - box[0], box[3] - box[1]
        cx, cy = (box[0] + box[2]) / 2 / stride - 0.5, (box[1] + box[3]) / 2 / stride - 0.5
        sigma = max(1.0, min(width, height) / stride / 5)
        near = np.exp(-((xs - cx) ** 2 + (ys - cy) ** 2) / (2 * sigma**2))
        row, column = int(np.clip(round(cy), 0, cells - 1)), int(np.clip(round(cx), 0, cells - 1))
        heat[index] = np.maximum(heat[index], near)
        heat[index, row, column] = 1
        size[index, 0], size[index, 1] = np.log(max(width, 4) / 32), np.log(max(height, 4) / 32)
        counts[index] = near > 0.5
        counts[index, row, column] = True
    return heat, size, counts
