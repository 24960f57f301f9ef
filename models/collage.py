"""Films of scarce regions put together from training films: spines from chests and abdomens, clavicles from chests.

Whole-spine films are few in training. A real chest film above a real abdomen has the texture of a film, which
renderings from CT lack; a film of the clavicles is the top of a chest film, one of a hip half of a pelvis. Made from
the training films alone, at the start of a run.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.data import SYNTHETIC, Film, shrink
from models.framing import NotReadable, square
from models.labels import ROUTER5_OF_REGION

Grey = NDArray[np.float32]


def collages(
    selection: list[Film], images: NDArray[np.uint8], count: int, seed: int
) -> tuple[list[Film], NDArray[np.uint8]]:
    """About `count` pictures of whole spines, and a quarter as many of each other kind, with their canonical images.

    Args:
        selection: training films.
        images: their canonical images, uint8 `(n, s, s)`.
    """
    generator = np.random.default_rng(seed)
    frontal = [i for i, film in enumerate(selection) if film.view in ("AP", "PA", "FRONTAL")]
    frontal = [i for i in frontal if selection[i].source not in SYNTHETIC]
    chests = [i for i in frontal if selection[i].router5 == "adult_chest"]
    trunks = chests + [i for i in frontal if selection[i].router5 == "pediatric_chest"]
    bellies = [i for i in frontal if selection[i].router5 == "abdominal"]
    pelves = [i for i in frontal if selection[i].examined == "PELVIS"]
    made: list[Film] = []
    pictures: list[NDArray[np.uint8]] = []
    if not count or not chests or not bellies or not pelves:
        return made, np.zeros((0, *images.shape[1:]), dtype=np.uint8)
    for number in range(9 * count // 4):
        kind = max(0, number % 9 - 3)  # four of nine are whole spines
        width = generator.uniform(0.24, 0.5)
        chest, belly, pelvis = (images[generator.choice(rows)] for rows in (chests, bellies, pelves))
        upper, lower = _middle(chest, width, generator), _middle(belly, width, generator)
        lower_part = lower[: int(len(lower) * generator.uniform(0.7, 1))]
        if kind == 0:
            region, picture = "SPINE", whole_spine(images[generator.choice(trunks)], belly, generator)
        elif kind == 1:
            region, picture = "SPINE", _beside(upper, lower_part)
        elif kind == 2:
            region, picture = "TSPINE", _narrowed(upper, int(upper.shape[1] * generator.uniform(0.55, 0.9)))
        elif kind == 3:
            region, picture = "LSPINE", lower_part
        elif kind == 4:
            region, picture = "CLAVICLE", _part(chest, (0, generator.uniform(0.28, 0.4)), (0, 1))
        else:
            start = float(generator.choice([0, 0.5])) + generator.uniform(-0.05, 0.05)
            region, picture = "HIP", _part(pelvis, (generator.uniform(0.15, 0.4), 1), (start, start + 0.5))
        try:
            pictures.append(shrink(square(picture)))
        except NotReadable:
            continue
        visible = ("TSPINE", "LSPINE") if region == "SPINE" else (region,)
        router5 = ROUTER5_OF_REGION.get(region, "others")
        made.append(Film(None, "collage", "collage", "train", router5, region, visible, view="AP"))
    return made, np.stack(pictures)


def _content(image: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of what is not padding."""
    rows, columns = (np.flatnonzero(image.max(axis=axis) > 8) for axis in (1, 0))
    if len(rows) < 40 or len(columns) < 40:
        return 0, image.shape[0], 0, image.shape[1]
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _part(image: NDArray[np.uint8], down: tuple[float, float], across: tuple[float, float]) -> Grey:
    """A part of a film's content, given as shares of its height and width."""
    top, bottom, left, right = _content(image)
    high, wide = bottom - top, right - left
    first = max(0.0, across[0])
    rows = slice(top + int(down[0] * high), top + int(down[1] * high))
    columns = slice(left + int(first * wide), left + int(min(1.0, across[1]) * wide))
    return image[rows, columns].astype(np.float32) / 255


def _beside(left: Grey, right: Grey) -> Grey:
    """Two strips side by side, both of the height of the shorter."""
    height = min(len(left), len(right))
    bar = np.full((height, 3), 0.9, dtype=np.float32)
    return np.hstack([left[-height:], bar, right[:height]])


def _middle(image: NDArray[np.uint8], width: float, generator: np.random.Generator) -> Grey:
    """The middle columns of a film's content, a share of its width, as grey levels 0..1."""
    top, bottom, left, right = _content(image)
    middle = (left + right) / 2 + generator.normal(0, 0.03) * (right - left)
    half = max(8.0, width * (right - left) / 2)
    top += int(generator.uniform(0, 0.1) * (bottom - top))
    bottom -= int(generator.uniform(0, 0.12) * (bottom - top))
    strip = image[top:bottom, max(left, int(middle - half)) : min(right, int(middle + half))]
    return strip.astype(np.float32) / 255


def whole_spine(chest: NDArray[np.uint8], belly: NDArray[np.uint8], generator: np.random.Generator) -> Grey:
    """A film of the whole spine: the trunk of a chest film above that of an abdomen, on a curve as in a scoliosis.

    Such a film is taken from the neck to the sacrum or the hips, coned down to a quarter or left at the whole width of
    the trunk, and most devices raise its local contrast.
    """
    uniform = generator.uniform
    upper = _part(chest, (uniform(0, 0.12), uniform(0.8, 1)), (0, 1))
    lower = _part(belly, (uniform(0.02, 0.2), uniform(0.6, 1)), (0, 1))
    wide = max(upper.shape[1], lower.shape[1])
    upper, lower = (cv2.resize(part, (wide, max(16, len(part) * wide // part.shape[1]))) for part in (upper, lower))
    if uniform() < 0.8:
        upper, lower = (_equalised(part, uniform(1, 4)) for part in (upper, lower))
    blend = max(4, min(len(upper), len(lower)) // 6)
    shift = float(np.median(lower[:blend]) - np.median(upper[-blend:]))
    upper = np.clip(upper + shift * uniform(0.5, 1), 0, 1)
    ramp = np.linspace(1, 0, blend, dtype=np.float32)[:, None]
    trunk = np.vstack([upper[:-blend], upper[-blend:] * ramp + lower[:blend] * (1 - ramp), lower[blend:]])
    rows, columns = np.mgrid[: trunk.shape[0], : trunk.shape[1]].astype(np.float32)
    bend = uniform(0, 0.12) * wide * np.sin(uniform(0, 6.28) + rows / len(trunk) * uniform(3, 8))
    trunk = cv2.remap(trunk, columns + bend.astype(np.float32), rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    coned = min(wide, int(len(trunk) * uniform(0.2, 0.75)))
    return _narrowed(trunk, max(40, coned))


def _equalised(grey: Grey, limit: float) -> Grey:
    """Contrast-limited adaptive equalisation (Zuiderveld 1994) over about eight tiles a side."""
    tiles = cv2.createCLAHE(limit, (8, 8)).apply((np.clip(grey, 0, 1) * 255).astype(np.uint8))
    return tiles.astype(np.float32) / 255


def _narrowed(strip: Grey, width: int) -> Grey:
    start = (strip.shape[1] - width) // 2
    return strip[:, start : start + width]
