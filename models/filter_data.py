"""Pictures for the IVC-filter detector: real films with rendered filters, and films and hard negatives without.

There is no real film with a filter in the shared data: every positive is synthetic, and every figure says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.data import Film, canonical_film, films
from models.framing import DETAIL_SIDE
from models.framing import SIZE as SIDE
from models.wires import TRAINING_DESIGNS, add_metal, draw_distractors, place_filter

TRUNK_REGIONS = {"ABDOMEN", "PELVIS", "LSPINE", "TSPINE", "SPINE", "CHEST", "HIP"}
"""Films on which a filter can stand; all others are negatives only."""


@dataclass(frozen=True)
class Scene:
    """A picture and the filter in it: uint8, square; box x0, y0, x1, y1 in its pixels, None without a filter."""

    image: NDArray[np.uint8]
    box: tuple[float, float, float, float] | None
    design: str | None

    @property
    def middle(self) -> tuple[float, float]:
        """Of the filter: x and y in pixels of the canonical image."""
        assert self.box is not None
        scale = SIDE / self.image.shape[0]
        return (self.box[0] + self.box[2]) / 2 * scale, (self.box[1] + self.box[3]) / 2 * scale


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
    """A film with or without a rendered filter, half of the time with other metal on it.

    Args:
        image: canonical or detail image. On a detail image all of it, film, filter and other metal, is taken alike by
            a detector afterwards (`taken`): the films behind the scenes have no more than 512 pixels, and a filter that
            is sharper than everything else would be found by that.
    """
    grey = image.astype(np.float32) / 255
    content = content_of(image)
    if content is None:
        return Scene(image, None, None)
    side, finer = image.shape[0], image.shape[0] / SIDE
    pixels_per_mm = generator.uniform(0.95, 2.1) * finer
    # Room above the brightest bone, for metal is brighter still; films without metal get it alike.
    grey *= np.float32(generator.uniform(0.6, 0.9))
    layer = np.zeros((side, side), dtype=np.float32)
    if generator.random() < 0.5:
        layer += draw_distractors((side, side), pixels_per_mm, generator)
    box, design = None, None
    blur = generator.uniform(0.2, 0.9) * finer
    if positive:
        design = str(generator.choice(designs))
        placed = place_filter(design, (side, side), _spot(film, content, generator), pixels_per_mm, generator)
        layer += placed.layer
        box = _within(placed.box, side)
    grey = add_metal(grey, layer, _strength(generator), blur)
    if finer > 1:
        grey = taken(grey, generator)
    top, bottom, left, right = content
    outside = image == 0
    outside[top:bottom, left:right] = False
    grey[outside] = 0
    return Scene((grey * 255 + 0.5).astype(np.uint8), box, design)


def compose_crop(
    image: NDArray[np.uint8], film: Film, positive: bool, side: int, generator: np.random.Generator
) -> Scene:
    """What `compose` makes of a detail image, of a square of it alone, from the canonical image.

    A third of the films are enlarged by less than two, as if they showed less: their anatomy is then too small beside
    the filter, and as sharp as on films that do have 1,024 pixels.
    """
    content = content_of(image)
    if content is None:
        return Scene(np.zeros((side, side), np.uint8), None, None)
    enlarged = float(generator.uniform(1, 1.6)) if generator.random() < 0.35 else DETAIL_SIDE / SIDE
    window = min(SIDE, int(np.ceil(side / enlarged)))
    x, y = _spot(film, content, generator) if positive else generator.uniform(0, SIDE, 2)
    at = generator.uniform(0.15, 0.85, 2)
    left, top = (int(np.clip(v - share * window, 0, SIDE - window)) for v, share in zip((x, y), at, strict=True))
    method = int(generator.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4]))
    cut = np.ascontiguousarray(image[top : top + window, left : left + window])
    grey = cv2.resize(cut, (side, side), interpolation=method).astype(np.float32) / 255
    scale = side / window
    pixels_per_mm = generator.uniform(0.95, 2.1) * DETAIL_SIDE / SIDE
    grey *= np.float32(generator.uniform(0.6, 0.9))
    layer = np.zeros((side, side), dtype=np.float32)
    if generator.random() < 0.5:
        layer += draw_distractors((side, side), pixels_per_mm, generator)
    box, design = None, None
    if positive:
        design = str(generator.choice(list(TRAINING_DESIGNS)))
        spot = ((x - left) * scale, (y - top) * scale)
        placed = place_filter(design, (side, side), spot, pixels_per_mm, generator)
        layer += placed.layer
        box = _within(placed.box, side)
    grey = add_metal(grey, layer, _strength(generator), generator.uniform(0.4, 1.8))
    return Scene((taken(grey, generator) * 255 + 0.5).astype(np.uint8), box, design)


def taken(grey: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
    """A scene as a detector takes it: blur, noise, and half of the time an original of fewer pixels."""
    blur = generator.uniform(0.0, 1.2)
    if blur > 0.2:
        grey = cv2.GaussianBlur(grey, (0, 0), blur)
    noise = generator.standard_normal(grey.shape, dtype=np.float32) * np.float32(generator.uniform(0, 0.04))
    if generator.random() < 0.5:
        noise = cv2.GaussianBlur(noise, (0, 0), 0.8) * np.float32(2.5)  # of grain; as strong as before the blur
    grey = np.clip(grey + noise, 0, 1)
    if generator.random() < 0.5:
        canonical = generator.random() < 0.5  # as a detector of detail images is shown a film that has none
        fewer = grey.shape[0] // 2 if canonical else round(grey.shape[0] * generator.uniform(0.4, 0.95))
        grey = cv2.resize(grey, (fewer, fewer), interpolation=cv2.INTER_AREA)
        method = cv2.INTER_NEAREST if canonical else cv2.INTER_LINEAR
        grey = cv2.resize(grey, noise.shape[::-1], interpolation=method)
    return grey


def enlarged(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A canonical image as the background of scenes on more pixels: smooth, where `at_side` repeats pixels."""
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)


def content_of(image: NDArray[np.uint8]) -> tuple[int, int, int, int] | None:
    """First row, last plus one, first column, last plus one of what a picture shows; None where that is too little."""
    rows, columns = (np.flatnonzero(image.max(axis=a) > 8) for a in (1, 0))
    finer = image.shape[0] / SIDE
    if len(rows) < 64 * finer or len(columns) < 48 * finer:
        return None
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _spot(film: Film, content: tuple[int, int, int, int], generator: np.random.Generator) -> tuple[float, float]:
    """Where a filter may stand: x and y of its middle, pixels."""
    top, bottom, left, right = content
    across = generator.normal(0.48, 0.12) if generator.random() < 0.75 else generator.uniform(0.1, 0.9)
    down = generator.uniform(0.6, 0.95) if film.router5 == "adult_chest" else generator.uniform(0.12, 0.85)
    return left + float(np.clip(across, 0.06, 0.94)) * (right - 1 - left), top + down * (bottom - 1 - top)


def _strength(generator: np.random.Generator) -> float:
    return float(np.exp(generator.uniform(np.log(0.14), np.log(0.6))))


def _within(box: tuple[float, float, float, float], side: int) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = box
    return max(0.0, x0), max(0.0, y0), min(side - 1.0, x1), min(side - 1.0, y1)


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
