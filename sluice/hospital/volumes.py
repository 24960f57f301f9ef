"""Slices of CT and MR phantoms, ultrasound screens and mammograms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Slice = npt.NDArray[np.int16]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Ellipsoid:
    """One tissue: centre and radii in units of half the field of view (z: half the stack), and what it is made of.

    Attributes:
        tissue: key of `HOUNSFIELD` and of the MR contrasts in `BRIGHTNESS`.
    """

    x: float
    y: float
    z: float
    a: float
    b: float
    c: float
    tissue: str


HOUNSFIELD = {"air": -1000, "lung": -840, "fat": -95, "soft": 45, "brain": 34, "csf": 8, "liver": 62, "blood": 48,
              "spongy": 240, "bone": 900, "disc": 85, "marrow": 180}  # fmt: skip
BRIGHTNESS = {
    "T1": {"fat": 900, "soft": 330, "brain": 480, "csf": 130, "bone": 40, "spongy": 560, "disc": 290, "marrow": 690},
    "T2": {"fat": 700, "soft": 260, "brain": 380, "csf": 980, "bone": 40, "spongy": 420, "disc": 590, "marrow": 500},
    "PD": {"fat": 850, "soft": 520, "brain": 640, "csf": 760, "bone": 40, "spongy": 600, "disc": 420, "marrow": 720},
    "FLAIR": {"fat": 640, "soft": 320, "brain": 560, "csf": 60, "bone": 30, "spongy": 380, "disc": 300, "marrow": 450},
    "DWI": {"fat": 90, "soft": 150, "brain": 520, "csf": 70, "bone": 20, "spongy": 110, "disc": 120, "marrow": 120},
    "STIR": {"fat": 60, "soft": 260, "brain": 420, "csf": 990, "bone": 30, "spongy": 110, "disc": 480, "marrow": 90},
}

_CHEST = (
    Ellipsoid(0, 0, 0, 0.93, 0.66, 1.6, "fat"),
    Ellipsoid(0, 0, 0, 0.88, 0.61, 1.6, "soft"),
    Ellipsoid(0, 0, 0, 0.81, 0.54, 1.5, "bone"),
    Ellipsoid(0, 0, 0, 0.785, 0.515, 1.5, "soft"),
    Ellipsoid(-0.43, -0.02, -0.05, 0.32, 0.45, 1.05, "lung"),
    Ellipsoid(0.43, -0.02, -0.05, 0.32, 0.45, 1.05, "lung"),
    Ellipsoid(0.12, -0.13, 0.3, 0.32, 0.26, 0.5, "blood"),
    Ellipsoid(0.05, 0.28, 0, 0.075, 0.075, 2.0, "blood"),
    Ellipsoid(-0.4, 0.05, 1.25, 0.45, 0.5, 0.6, "liver"),
    Ellipsoid(0, 0.02, -0.75, 0.055, 0.05, 0.75, "air"),
    Ellipsoid(0, 0.44, 0, 0.135, 0.115, 3, "bone"),
    Ellipsoid(0, 0.44, 0, 0.11, 0.09, 3, "spongy"),
    Ellipsoid(0, 0.585, 0, 0.045, 0.075, 3, "bone"),
    Ellipsoid(0, -0.545, -0.1, 0.09, 0.03, 0.7, "bone"),
)
_ABDOMEN = (
    Ellipsoid(0, 0, 0, 0.94, 0.7, 1.9, "fat"),
    Ellipsoid(0, 0.02, 0, 0.83, 0.57, 1.9, "soft"),
    Ellipsoid(0, 0.02, 0, 0.76, 0.5, 1.9, "fat"),
    Ellipsoid(-0.38, -0.04, -0.5, 0.4, 0.4, 0.75, "liver"),
    Ellipsoid(0.45, 0.12, -0.6, 0.17, 0.2, 0.45, "liver"),
    Ellipsoid(0.3, -0.22, -0.5, 0.24, 0.17, 0.35, "soft"),
    Ellipsoid(0.32, -0.3, -0.5, 0.16, 0.08, 0.3, "air"),
    Ellipsoid(-0.38, 0.27, 0, 0.13, 0.11, 0.42, "soft"),
    Ellipsoid(0.38, 0.27, 0, 0.13, 0.11, 0.42, "soft"),
    Ellipsoid(0, -0.2, 0.6, 0.55, 0.22, 0.6, "soft"),
    Ellipsoid(-0.25, -0.22, 0.6, 0.09, 0.07, 0.3, "air"),
    Ellipsoid(0.2, -0.28, 0.5, 0.12, 0.06, 0.25, "air"),
    Ellipsoid(0.06, 0.17, 0, 0.06, 0.06, 2, "blood"),
    Ellipsoid(-0.08, 0.16, 0, 0.065, 0.05, 2, "blood"),
    Ellipsoid(-0.19, 0.33, 0.2, 0.11, 0.12, 1, "soft"),
    Ellipsoid(0.19, 0.33, 0.2, 0.11, 0.12, 1, "soft"),
    Ellipsoid(0, 0.36, 0, 0.155, 0.125, 3, "bone"),
    Ellipsoid(0, 0.36, 0, 0.13, 0.1, 3, "spongy"),
    Ellipsoid(0, 0.53, 0, 0.04, 0.09, 3, "bone"),
)
_SKULL = (
    Ellipsoid(0, 0, 0, 0.78, 0.94, 1.15, "soft"),
    Ellipsoid(0, 0, 0, 0.735, 0.895, 1.1, "bone"),
    Ellipsoid(0, 0, 0, 0.68, 0.84, 1.02, "csf"),
    Ellipsoid(0, 0, 0, 0.655, 0.815, 0.98, "brain"),
    Ellipsoid(-0.13, -0.1, 0.05, 0.09, 0.3, 0.3, "csf"),
    Ellipsoid(0.13, -0.1, 0.05, 0.09, 0.3, 0.3, "csf"),
    Ellipsoid(0, 0.25, -0.1, 0.05, 0.2, 0.22, "csf"),
    Ellipsoid(-0.3, -0.78, -0.75, 0.17, 0.17, 0.25, "csf"),
    Ellipsoid(0.3, -0.78, -0.75, 0.17, 0.17, 0.25, "csf"),
    Ellipsoid(0, -0.72, -0.95, 0.14, 0.24, 0.22, "air"),
)
# Sagittal: x runs from front to back, y downwards, z from right to left.
_SPINE = (
    Ellipsoid(0.05, 0, 0, 0.85, 1.6, 1.8, "fat"),
    Ellipsoid(-0.05, 0, 0, 0.7, 1.6, 1.8, "soft"),
    *(
        Ellipsoid(-0.02 + 0.07 * np.cos((k - 2.5) / 2), -0.86 + k * 0.31, 0, 0.2, 0.125, 0.75, "marrow")
        for k in range(7)
    ),
    *(Ellipsoid(-0.02 + 0.07 * np.cos((k - 2) / 2), -0.705 + k * 0.31, 0, 0.19, 0.035, 0.7, "disc") for k in range(6)),
    Ellipsoid(0.3, 0, 0, 0.085, 1.3, 0.3, "csf"),
    Ellipsoid(0.3, -0.5, 0, 0.04, 0.75, 0.16, "brain"),
    *(Ellipsoid(0.53, -0.75 + k * 0.31, 0, 0.15, 0.075, 0.2, "marrow") for k in range(6)),
)
_KNEE = (
    Ellipsoid(0, 0, 0, 0.72, 1.7, 1.3, "fat"),
    Ellipsoid(0, 0, 0, 0.64, 1.6, 1.2, "soft"),
    Ellipsoid(0.0, -0.72, 0, 0.27, 0.72, 0.7, "bone"),
    Ellipsoid(0.0, -0.72, 0, 0.235, 0.69, 0.65, "marrow"),
    Ellipsoid(0.05, -0.25, 0, 0.4, 0.27, 0.95, "bone"),
    Ellipsoid(0.05, -0.25, 0, 0.375, 0.245, 0.9, "marrow"),
    Ellipsoid(0.02, 0.18, 0, 0.4, 0.16, 0.95, "bone"),
    Ellipsoid(0.02, 0.18, 0, 0.375, 0.135, 0.9, "marrow"),
    Ellipsoid(0.0, 0.75, 0, 0.22, 0.65, 0.6, "bone"),
    Ellipsoid(0.0, 0.75, 0, 0.185, 0.62, 0.55, "marrow"),
    Ellipsoid(-0.48, -0.3, 0, 0.1, 0.2, 0.5, "marrow"),
)
PHANTOMS = {"CHEST": _CHEST, "ABDOMEN": _ABDOMEN, "SKULL": _SKULL, "LSPINE": _SPINE, "KNEE": _KNEE}


class Stack:
    """One series of slices; every patient's phantom is a little larger, smaller or shifted."""

    def __init__(self, region: str, contrast: str, modality: str, edge: int, count: int, seed: int) -> None:
        self.tissues = PHANTOMS[region]
        self.modality, self.contrast, self.edge, self.count = modality, contrast, edge, count
        self.chance = np.random.default_rng(seed)
        person = np.random.default_rng(seed // 100)
        self.stretch = person.uniform(0.93, 1.05, 3)
        self.shift = person.uniform(-0.03, 0.03, 2)
        axis = (np.arange(edge, dtype=np.float32) + 0.5) / edge * 2 - 1
        self.x, self.y = np.meshgrid(axis, axis)

    def slice(self, place: int) -> Slice:
        """The slice number `place` (from 0): Hounsfield units for CT, arbitrary units from 0 for MR."""
        z = 0.0 if self.count == 1 else (place / (self.count - 1)) * 1.8 - 0.9
        values = HOUNSFIELD if self.modality == "CT" else BRIGHTNESS.get(self.contrast, BRIGHTNESS["T2"])
        picture = np.full((self.edge, self.edge), values.get("air", 0), np.float32)
        for t in self.tissues:
            height = 1.0 - ((z - t.z) / (t.c * self.stretch[2])) ** 2
            if height <= 0:
                continue
            u = (self.x - t.x - self.shift[0]) / (t.a * self.stretch[0])
            v = (self.y - t.y - self.shift[1]) / (t.b * self.stretch[1])
            picture[u * u + v * v < height] = values.get(t.tissue, values.get("soft", 0))
        noise = {"LUNG": 42.0, "BONE": 30.0}.get(self.contrast, 12.0)
        picture += self.chance.normal(0.0, noise, picture.shape).astype(np.float32)
        if self.modality == "MR":
            picture = (np.abs(picture) * (1 - 0.18 * self.x * self.y)).astype(np.float32)
        return np.clip(np.round(picture), -1024 if self.modality == "CT" else 0, 3071).astype(np.int16)


def topogram(region: str, edge: int, seed: int) -> Slice:
    """The scout of a CT: the phantom seen from the front, summed along the ray."""
    stack = Stack(region, "SOFT", "CT", edge, 40, seed)
    sums = np.stack([(stack.slice(place).astype(np.float32) + 1000).sum(axis=0) for place in range(40)])
    picture = np.repeat(sums, max(edge // 40, 1), axis=0)[:edge]
    padded = np.zeros((edge, edge), np.float32)
    padded[: len(picture)] = picture
    return (padded / max(float(padded.max()), 1.0) * 2000 - 1000).astype(np.int16)


def ultrasound(edge: int, seed: int, lines: list[str]) -> Bytes:
    """An ultrasound screen: a speckled sector below a banner of burned-in `lines`; shape (rows, columns, 3)."""
    from PIL import Image, ImageDraw, ImageFont

    chance = np.random.default_rng(seed)
    rows, columns = edge, edge * 4 // 3
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    dx, dy = (x - columns / 2) / rows, y / rows + 0.02
    depth, angle = np.hypot(dx, dy), np.arctan2(dx, dy)
    speckle = chance.rayleigh(0.5, (rows, columns)).astype(np.float32) * np.exp(-1.1 * depth)
    for _ in range(4):
        cx, cy, radius = chance.uniform(-0.3, 0.3), chance.uniform(0.3, 0.8), chance.uniform(0.05, 0.13)
        inside = np.hypot(dx - cx, (dy - cy) * 1.3) < radius
        speckle[inside] *= chance.choice((0.12, 0.3, 1.7))
    speckle[(np.abs(angle) > 0.62) | (depth < 0.14) | (depth > 1.0)] = 0
    image = Image.fromarray((np.clip(speckle, 0, 1) * 255).astype(np.uint8))
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(max(rows // 20, 9))
    for place, line in enumerate(lines):
        pen.text((4, 2 + place * rows // 16), line, fill=230, font=font)
    return np.repeat(np.asarray(image)[:, :, None], 3, axis=2)


def mammogram(edge: int, seed: int, view: str, laterality: str) -> npt.NDArray[np.uint16]:
    """A breast against the chest wall, 12 bits, glandular tissue bright; MLO also shows the pectoral muscle."""
    chance = np.random.default_rng(seed)
    rows, columns = edge, edge * 3 // 4
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    u, v = x / columns, (y / rows - (0.55 if view == "MLO" else 0.5)) * 2
    breast = np.clip(1 - (u / 0.86) ** 2 - (v / 0.86) ** 2, 0, None) ** 0.35
    coarse = chance.normal(0, 1, (rows // 8 + 2, columns // 8 + 2))
    texture = np.kron(coarse, np.ones((8, 8)))[:rows, :columns]
    gland = np.clip(1 - ((u - 0.36) / 0.36) ** 2 - (v / 0.5) ** 2, 0, 1) * (0.7 + 0.3 * texture)
    picture = breast * 0.5 + np.clip(gland, 0, None) * 0.35
    if view == "MLO":
        picture[(u < 0.34 - 0.5 * (v + 1)) & (breast >= 0)] += 0.35
    picture += chance.normal(0, 0.012, picture.shape)
    picture[breast <= 0] = np.clip(picture[breast <= 0], 0, 0.02) if view == "CC" else picture[breast <= 0]
    result = (np.clip(picture, 0, 1) * 4000 + 20).astype(np.uint16)
    return np.ascontiguousarray(result[:, ::-1]) if laterality == "R" else result


def screen(lines: list[str], edge: int = 192) -> Bytes:
    """A screen saved as a picture: white words on black. Shape (rows, columns, 3)."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (edge * 4 // 3, edge))
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(max(edge // 16, 9))
    for place, line in enumerate(lines):
        pen.text((6, 4 + place * edge // 11), line, fill=(235, 235, 235), font=font)
    return np.asarray(image)
