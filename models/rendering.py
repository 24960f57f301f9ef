"""Radiographs rendered from CT volumes (digitally reconstructed radiographs), for parts of which few films exist.

Parallel projection of linear attenuation with extra weight on bone: plain, fast, and only meant to widen training.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Image = NDArray[np.float32]

TRAINING_VOLUMES = ("acrin_flt001_abdomen.npz", "lidc0001_chest.npz")
UNSEEN_VOLUME = "totalseg_example_ct.nii.gz"
"""Never rendered for training; held out for tests on synthetic images."""


@dataclass(frozen=True)
class Volume:
    """A CT volume at 2.5 mm: `hu` int16 (z from head to foot, y from front to back, x), spacing in mm."""

    hu: NDArray[np.int16]
    spacing: float


def load_volume(path: Path, spacing: float = 2.5) -> Volume:
    """Read one of the shared volumes and resample it to cubes of `spacing` mm.

    Raises:
        FileNotFoundError: the volume is not there.
        ValueError: the file is neither `.npz` nor a 32-bit integer NIfTI.
    """
    if path.suffix == ".npz":
        with np.load(path) as stored:
            hu, steps = stored["hu"], stored["spacing_zyx"]
    else:
        hu, steps = _nifti(path)
    zoom = np.asarray(steps, dtype=float) / spacing
    return Volume(ndimage.zoom(hu.astype(np.float32), zoom, order=1).astype(np.int16), spacing)


def _nifti(path: Path) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """NIfTI-1 header fields at their fixed offsets; z is stored from foot to head, y from back to front or reverse."""
    raw = gzip.decompress(path.read_bytes())
    nx, ny, nz = (int(n) for n in np.frombuffer(raw[42:48], "<i2"))
    if int(np.frombuffer(raw[70:72], "<i2")[0]) != 8:
        raise ValueError(f"{path.name}: only 32-bit integer NIfTI volumes are read here")
    steps = np.frombuffer(raw[80:92], "<f4").astype(float)[::-1]
    voxels = np.frombuffer(raw[352:], "<i4")[: nx * ny * nz].reshape(nz, ny, nx)
    return voxels[::-1, ::-1].astype(np.int16), steps


def project(volume: Volume, lateral: bool, generator: np.random.Generator) -> tuple[Image, Image]:
    """Attenuation (cm of water, bone weighted) and bone alone, projected at a random small rotation."""
    hu = volume.hu.astype(np.float32)
    for axes, largest in (((1, 2), 12.0), ((0, 2), 5.0)):
        hu = ndimage.rotate(hu, generator.uniform(-largest, largest), axes, reshape=False, order=1, cval=-1000)
    soft = np.clip(1 + hu / 1000, 0, None)
    bone = np.clip(hu - 130, 0, 1500) / 1000
    axis = 2 if lateral else 1
    centimetres = volume.spacing / 10
    weight = generator.uniform(0.8, 2.0)
    bone_only = bone.sum(axis) * centimetres
    return (soft.sum(axis) * centimetres + weight * bone_only).astype(np.float32), bone_only.astype(np.float32)


def grey(attenuation: Image, generator: np.random.Generator) -> Image:
    """Grey levels 0..1 of an attenuation image by a random film curve, with noise of its own dose."""
    low, high = np.percentile(attenuation, (generator.uniform(1, 15), generator.uniform(98, 99.9)))
    levels = np.clip((attenuation - low) / max(float(high - low), 1e-3), 0, 1) ** generator.uniform(0.6, 1.6)
    return np.clip(levels + generator.normal(0, generator.uniform(0, 0.02), levels.shape), 0, 1).astype(np.float32)


def spine_column(bone: Image) -> int:
    """Column (x) of the spine: where most bone is projected, smoothed."""
    return int(np.argmax(ndimage.uniform_filter1d(bone.sum(0), max(3, bone.shape[1] // 12))))


def strip(image: Image, centre: int, half_width: float, top: float, bottom: float) -> Image:
    """A narrow collimated strip: columns about `centre`, rows from `top` to `bottom` as fractions."""
    rows, columns = image.shape
    left, right = max(0, int(centre - half_width)), min(columns, int(centre + half_width))
    return image[int(top * rows) : max(int(bottom * rows), int(top * rows) + 16), left:right]


@dataclass(frozen=True)
class Rendering:
    """A rendered film: grey levels in 0..1, the region it shows, `AP` or `LATERAL`."""

    picture: Image
    region: str
    view: str


def renderings(folder: Path, count: int, seed: int) -> list[Rendering]:
    """Renderings from the training volumes, up to `count` of each kind, with the region and the view of each.

    Kinds: abdomen, lumbar spine (AP and lateral), thoracic spine, whole spine (chest set above abdomen), and some
    pelves and chests.

    Raises:
        FileNotFoundError: a volume is missing from `folder`.
    """
    generator = np.random.default_rng(seed)
    abdomen, chest = (load_volume(folder / name) for name in TRAINING_VOLUMES)
    made: list[Rendering] = []
    for index in range(count):
        lateral = index % 4 == 3
        view = "LATERAL" if lateral else "AP"
        belly, belly_bone = project(abdomen, lateral, generator)
        thorax, thorax_bone = project(chest, index % 4 == 2, generator)
        at, at_chest = spine_column(belly_bone), spine_column(thorax_bone)
        uniform = generator.uniform
        if not lateral:
            half = uniform(70, 100)
            picture = strip(belly, at, half, uniform(0, 0.15), uniform(0.85, 1))
            made.append(Rendering(grey(picture, generator), "ABDOMEN", view))
        narrow = strip(belly, at, uniform(18, 45), uniform(0.05, 0.3), uniform(0.65, 0.85))
        made.append(Rendering(grey(narrow, generator), "LSPINE", view))
        thorax_view = "LATERAL" if index % 4 == 2 else "AP"
        if index % 2 == 0:
            narrow = strip(thorax, at_chest, uniform(16, 40), uniform(0, 0.1), uniform(0.75, 0.95))
            made.append(Rendering(grey(narrow, generator), "TSPINE", thorax_view))
        if not lateral and thorax_view == "AP":
            made.append(Rendering(grey(_stack(thorax, at_chest, belly, at, generator), generator), "SPINE", "AP"))
        if index % 8 == 0:
            picture = strip(belly, at, uniform(75, 100), uniform(0.5, 0.6), uniform(0.95, 1))
            made.append(Rendering(grey(picture, generator), "PELVIS", "AP"))
        if index % 8 in (0, 2):
            top = uniform(0, 0.1)
            made.append(Rendering(grey(thorax[int(top * len(thorax)) :], generator), "CHEST", thorax_view))
    return made


def _stack(thorax: Image, at_chest: int, belly: Image, at: int, generator: np.random.Generator) -> Image:
    """A whole-spine strip: the thorax above the abdomen, both centred on the spine, blended over 5 cm."""
    half, blend = int(generator.uniform(20, 75)), 20
    upper = strip(thorax, at_chest, half, generator.uniform(0, 0.1), 0.85)
    lower = strip(belly, at, half, 0.18, generator.uniform(0.75, 1.0))
    width = min(upper.shape[1], lower.shape[1])
    upper, lower = upper[:, :width], lower[:, :width]
    upper = upper * (np.median(lower[:blend]) / max(float(np.median(upper[-blend:])), 1e-3))
    ramp = np.linspace(1, 0, blend, dtype=np.float32)[:, None]
    seam = upper[-blend:] * ramp + lower[:blend] * (1 - ramp)
    stacked = np.vstack([upper[:-blend], seam, lower[blend:]])
    # A scoliosis: rows shift along a smooth curve.
    phase, depth = generator.uniform(0, 6.28), generator.uniform(0, 0.2) * width
    shifts = depth * np.sin(phase + np.linspace(0, generator.uniform(3, 7), stacked.shape[0]))
    return np.stack([np.roll(row, int(s)) for row, s in zip(stacked, shifts, strict=True)]).astype(np.float32)
