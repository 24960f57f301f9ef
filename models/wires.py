"""Inferior vena cava filters as 3-D wire models, and how they look on a radiograph.

Dimensions are those of the common designs in outline (length 35 to 55 mm, base 20 to 32 mm, wires of 0.3 to 0.5 mm);
none copies a product. A filter is projected at a random pose and its wires are added to a film in the attenuation
domain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Points = NDArray[np.float64]
"""A wire: `(n, 3)` points in mm, z along the vein with the hook at the top (+z)."""
FloatImage = NDArray[np.float32]


def _legs(count: int, apex_z: float, foot_z: float, radius: float, bend: float, phase: float = 0.0) -> list[Points]:
    """Wires from an apex outwards to a circle; `bend` > 1 keeps them near the axis first."""
    t = np.linspace(0, 1, 12)
    wires = []
    for k in range(count):
        angle = phase + 2 * np.pi * k / count
        r = 0.8 + (radius - 0.8) * t**bend
        wires.append(np.stack([r * np.cos(angle), r * np.sin(angle), apex_z + (foot_z - apex_z) * t], 1))
    return wires


def _hook(z: float, up: bool, generator: np.random.Generator) -> Points:
    """A retrieval hook: a short sleeve with a curl."""
    t = np.linspace(0, 1.2 * np.pi, 8)
    curl = np.stack([1.5 - 1.5 * np.cos(t), np.zeros(8), 4 + 1.5 * np.sin(t)], 1)
    points = np.vstack([[[0, 0, -1], [0, 0, 4]], curl])
    return points * (1 if up else -1) * generator.uniform(0.8, 1.2) + np.array([0, 0, z])


def _two_level_cone(g: np.random.Generator) -> list[Points]:
    """Six arms above six legs from one sleeve, as retrievable conical filters have."""
    height, radius = g.uniform(35, 48), g.uniform(12, 16)
    arms = _legs(6, height, height * g.uniform(0.45, 0.65), radius * g.uniform(0.7, 1), g.uniform(0.6, 0.9))
    return [*arms, *_legs(6, height, 0, radius, g.uniform(0.9, 1.6), np.pi / 6), _hook(height, True, g)]


def _simple_cone(g: np.random.Generator) -> list[Points]:
    """Six zigzag legs from an apex, as the early permanent cones have."""
    height, radius = g.uniform(42, 50), g.uniform(12, 15)
    legs = _legs(6, height, 0, radius, g.uniform(1.0, 1.5))
    ripple = np.sin(np.linspace(0, g.uniform(8, 14), 12)) * g.uniform(0, 0.9)
    return [leg + np.stack([ripple, ripple, np.zeros(12)], 1) for leg in legs] + [_hook(height - 2, True, g)]


def _four_legs(g: np.random.Generator) -> list[Points]:
    """Four primary legs with looping secondary wires."""
    height, radius = g.uniform(38, 52), g.uniform(13, 16)
    wires = _legs(4, height, 0, radius, g.uniform(1, 1.3))
    t = np.linspace(0, 1, 14)
    for k in range(8):
        angle = 2 * np.pi * k / 8 + 0.2
        r = radius * 0.95 * np.sin(np.pi * np.clip(t * 0.75, 0, 1)) ** 0.8
        z = height - t * height * g.uniform(0.5, 0.7)
        wires.append(np.stack([r * np.cos(angle + 0.4 * t), r * np.sin(angle + 0.4 * t), z], 1))
    return [*wires, _hook(height, True, g)]


def _sixteen_struts(g: np.random.Generator) -> list[Points]:
    """A generic filter of sixteen struts, 43.5 mm long and 27.5 mm wide."""
    height, radius = 43.5 * g.uniform(0.92, 1.08), 13.75 * g.uniform(0.9, 1.1)
    return [
        *_legs(8, height, 0, radius, g.uniform(1, 1.4)),
        *_legs(8, height, height * 0.35, radius * 0.9, g.uniform(0.6, 1), np.pi / 8),
        _hook(height, True, g),
    ]


def _nest(g: np.random.Generator) -> list[Points]:
    """Two V struts with a tangle of thin wire between, as a bird's nest."""
    height, radius = g.uniform(50, 75), g.uniform(11, 15)
    wires = []
    for z, sign in ((0.0, 1.0), (height, -1.0)):
        tip = np.array([0.0, 0.0, z + sign * g.uniform(15, 22)])
        wires += [np.array([[x, g.uniform(-3, 3), z], tip]) for x in (-radius, radius)]
    for _ in range(4):
        knots = g.normal(0, 1, (14, 3)) * np.array([radius * 0.5, radius * 0.5, height * 0.16]) + [0, 0, height / 2]
        t = np.linspace(0, 13, 90)
        wires.append(np.stack([np.interp(t, np.arange(14), knots[:, a]) for a in range(3)], 1))
    return wires


def _double_basket(g: np.random.Generator) -> list[Points]:
    """Two baskets joined by six straight struts along the wall; kept for tests only."""
    height, radius = g.uniform(48, 60), g.uniform(11, 15)
    angles = 2 * np.pi * np.arange(6) / 6
    rim = np.stack([radius * np.cos(angles), radius * np.sin(angles)], 1)
    low, high = height * 0.3, height * 0.7
    wires = []
    for x, y in rim:
        profile = [[0, 0, 0], [x, y, low], [x, y, high], [0, 0, height]]
        wires.append(np.array(profile, dtype=float))
    return [*wires, _hook(0, False, g)]


TRAINING_DESIGNS: dict[str, Callable[[np.random.Generator], list[Points]]] = {
    "two_level_cone": _two_level_cone,
    "simple_cone": _simple_cone,
    "four_legs": _four_legs,
    "sixteen_struts": _sixteen_struts,
    "nest": _nest,
}
UNSEEN_DESIGN = "double_basket"
DESIGNS = {**TRAINING_DESIGNS, UNSEEN_DESIGN: _double_basket}


@dataclass(frozen=True)
class Placed:
    """A filter on a film: attenuation added per pixel (0..1, relative) and its box x0, y0, x1, y1 in pixels."""

    layer: FloatImage
    box: tuple[float, float, float, float]


def place_filter(
    design: str,
    shape: tuple[int, int],
    centre: tuple[float, float],
    pixels_per_mm: float,
    generator: np.random.Generator,
) -> Placed:
    """Draw one filter at a random pose.

    Args:
        design: a key of `DESIGNS`.
        shape: rows and columns of the film.
        centre: x, y of the filter's middle, pixels.
        pixels_per_mm: scale of the film at the filter's depth.
        generator: source of shape, pose and wire thickness.
    """
    wires = DESIGNS[design](generator)
    middle = np.vstack(wires).mean(0)
    turn = _rotation(generator.normal(0, 12), generator.normal(0, 14), generator.uniform(0, 360))
    flat = [((wire - middle) @ turn.T)[:, [0, 2]] * [1, -1] * pixels_per_mm + np.asarray(centre) for wire in wires]
    corners = np.vstack(flat)
    thickness = generator.uniform(0.3, 0.55) * pixels_per_mm
    layer = _draw(flat, shape, thickness)
    low, high = corners.min(0), corners.max(0)
    return Placed(layer, (float(low[0]), float(low[1]), float(high[0]), float(high[1])))


def _rotation(tilt: float, nod: float, spin: float) -> NDArray[np.float64]:
    """Rotation by degrees: about the vein's axis, then tilted in the film, then towards it."""
    a, b, c = np.radians([tilt, nod, spin])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return about_x @ about_y @ about_z


def _draw(lines: list[Points], shape: tuple[int, int], thickness: float, finer: int = 4) -> FloatImage:
    """Lines of a thickness in pixels, anti-aliased by drawing finer; crossing wires add up."""
    corners = np.vstack(lines)
    x0, y0 = np.floor(corners.min(0) - 3).astype(int)
    x1, y1 = np.ceil(corners.max(0) + 3).astype(int)
    width, height = int(x1 - x0), int(y1 - y0)
    total = np.zeros((height, width), dtype=np.float32)
    pen = max(1, round(thickness * finer))
    faint = min(1.0, thickness * finer / pen)
    for line in lines:
        canvas = Image.new("L", (width * finer, height * finer))
        points = [(float(x - x0) * finer, float(y - y0) * finer) for x, y in line]
        ImageDraw.Draw(canvas).line(points, fill=255, width=pen, joint="curve")
        drawn = np.asarray(canvas.resize((width, height), Image.Resampling.BOX), dtype=np.float32) / 255
        total += drawn * np.float32(faint)
    out = np.zeros(shape, dtype=np.float32)
    top, left, bottom, right = max(0, y0), max(0, x0), min(shape[0], y1), min(shape[1], x1)
    if bottom > top and right > left:
        out[top:bottom, left:right] = total[top - y0 : bottom - y0, left - x0 : right - x0]
    return out


def draw_distractors(shape: tuple[int, int], pixels_per_mm: float, generator: np.random.Generator) -> FloatImage:
    """What also shines on films: catheters, leads, clips, staples, coils, screws, letters; a few at random."""
    out = np.zeros(shape, dtype=np.float32)
    side = max(shape)
    for _ in range(generator.integers(1, 5)):
        kind = generator.integers(0, 7)
        at = generator.uniform(0, 1, 2) * [shape[1], shape[0]]
        thickness = generator.uniform(0.3, 2.5) * pixels_per_mm
        if kind <= 1:  # a catheter or lead: a long smooth curve
            knots = np.cumsum(generator.normal(0, side / 9, (6, 2)), 0) + at
            lines = [np.stack([_smooth(knots[:, 0]), _smooth(knots[:, 1])], 1)]
        elif kind == 2:  # clips and staples
            lines = [
                np.stack([p, p + generator.normal(0, 4, 2) * pixels_per_mm])
                for p in at + generator.normal(0, 12, (generator.integers(2, 9), 2)) * pixels_per_mm
            ]
            thickness = generator.uniform(0.6, 1.4) * pixels_per_mm
        elif kind == 3:  # a coil
            t = np.linspace(0, generator.uniform(12, 40), 120)
            lines = [np.stack([np.cos(t) * 4, np.sin(t) * 4 + t * generator.uniform(0, 0.5)], 1) * pixels_per_mm + at]
        elif kind == 4:  # a rod or a screw
            lines = [np.stack([at, at + generator.normal(0, 30, 2) * pixels_per_mm])]
            thickness = generator.uniform(2, 6) * pixels_per_mm
        elif kind == 5:  # a double-J stent or a loop
            t = np.linspace(0, 1.7 * np.pi, 30)
            lines = [np.stack([np.cos(t), np.sin(t)], 1) * generator.uniform(8, 16) * pixels_per_mm + at]
        else:  # parallel lines: a brace, a grid, clothing
            step = generator.normal(0, 4, 2) * pixels_per_mm
            run = generator.normal(0, 20, 2) * pixels_per_mm
            lines = [np.stack([at + k * step, at + k * step + run]) for k in range(generator.integers(2, 6))]
        out += _draw([np.asarray(line, dtype=float) for line in lines], shape, thickness, 2) * np.float32(
            generator.uniform(0.4, 1.3)
        )
    return np.minimum(out, 2.0)


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """A curve of 60 points through a few knots."""
    t = np.linspace(0, len(values) - 1, 60)
    linear = np.interp(t, np.arange(len(values)), values)
    padded = np.pad(linear, 8, mode="edge")
    result: NDArray[np.float64] = np.convolve(padded, np.ones(17) / 17, mode="valid")
    return result


def add_metal(grey: FloatImage, layer: FloatImage, strength: float, blur: float) -> FloatImage:
    """Add metal to a film in the attenuation domain.

    Args:
        grey: 0..1, bone white, taken as attenuation after the film's window.
        layer: metal thickness in wires.
        strength: grey levels (0..1) that one wire adds where the film is mid-grey.
        blur: standard deviation of the detector's and the motion's blur, pixels.
    """
    from scipy.ndimage import gaussian_filter

    spread = gaussian_filter(layer, blur) if blur > 0.05 else layer
    # Scatter behind thick tissue takes contrast away: brighter places gain less.
    return np.clip(grey + np.float32(strength) * spread * (1.15 - 0.6 * grey), 0, 1).astype(np.float32)
