"""Drawings of limbs and skull."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from sluice.hospital.ink import Canvas, Point

Generator = np.random.Generator


def _long_bone(canvas: Canvas, start: Point, end: Point, shaft: float, heads: Point, amount: float) -> None:
    """A shaft with a wider head at each end, as a phalanx or metacarpal has."""
    canvas.bone(start, end, (shaft, shaft), amount, cortex=0.42)
    canvas.ellipsoid(start, (heads[0], heads[0] * 0.8), amount * 0.62)
    canvas.ellipsoid(end, (heads[1], heads[1] * 0.8), amount * 0.62)


def _rays(
    canvas: Canvas, roots: list[Point], tips: list[Point], parts: list[tuple[float, ...]], width: float, flesh: float
) -> None:
    """Metacarpals (or metatarsals) and phalanges along straight rays, with gaps at the joints."""
    for root, tip, cuts in zip(roots, tips, parts, strict=True):

        def at(share: float, root: Point = root, tip: Point = tip) -> Point:
            return (root[0] + (tip[0] - root[0]) * share, root[1] + (tip[1] - root[1]) * share)

        canvas.bone(at(0.3), at(1.02), (flesh, flesh * 0.72), 0.24, cortex=1.0)
        for place, (start, end) in enumerate(pairwise(cuts)):
            thin = width * (1.0 - 0.16 * place)
            last = place == len(cuts) - 2
            _long_bone(
                canvas, at(start + 0.022), at(end - 0.022), thin * 0.62, (thin, thin * (0.6 if last else 0.92)), 0.5
            )


def hand(canvas: Canvas, chance: Generator) -> None:
    """A hand, dorsopalmar: five rays, eight carpal bones, ends of radius and ulna."""
    spread = chance.uniform(0.92, 1.06)

    def fan(point: Point) -> Point:
        return (0.5 + (point[0] - 0.5) * spread, point[1])

    canvas.shape(
        [(0.3, 0.98), (0.27, 0.75), (0.3, 0.6), (0.5, 0.53), (0.74, 0.6), (0.76, 0.75), (0.68, 0.98)], 0.3, 0.01
    )
    canvas.shape([(0.36, 1.4), (0.34, 1.05), (0.68, 1.05), (0.66, 1.4)], 0.3, 0.01)
    roots = [fan(p) for p in ((0.31, 0.89), (0.4, 0.845), (0.485, 0.84), (0.57, 0.855), (0.645, 0.885))]
    tips = [fan(p) for p in ((0.065, 0.47), (0.32, 0.125), (0.48, 0.065), (0.65, 0.115), (0.84, 0.26))]
    parts: list[tuple[float, ...]] = [(0.0, 0.42, 0.76, 1.0)] + [(0.0, 0.42, 0.7, 0.88, 1.0)] * 4
    _rays(canvas, roots, tips, parts, 0.028, 0.048)
    carpals = (
        (0.335, 0.93),
        (0.4, 0.905),
        (0.475, 0.9),
        (0.565, 0.915),
        (0.4, 0.965),
        (0.475, 0.965),
        (0.545, 0.97),
        (0.61, 0.95),
    )
    for x, y in carpals:
        canvas.ellipsoid((x, y), (0.041, 0.034), 0.42)
        canvas.ellipsoid((x, y), (0.029, 0.023), -0.14)
    canvas.bone((0.425, 1.0), (0.44, 1.42), (0.078, 0.036), 0.6, cortex=0.34, fades=True)
    canvas.ellipsoid((0.42, 1.035), (0.085, 0.035), 0.3)
    canvas.bone((0.595, 1.03), (0.58, 1.42), (0.036, 0.03), 0.55, cortex=0.38, fades=True)
    canvas.ellipsoid((0.6, 1.04), (0.04, 0.03), 0.3)


def knee(canvas: Canvas, chance: Generator) -> None:
    """A knee, AP: femur with two condyles, patella through it, joint space, tibial plateau, fibula."""
    lean = chance.uniform(-0.015, 0.015)
    canvas.shape(
        [
            (0.16, -0.1),
            (0.2, 0.4),
            (0.17, 0.65),
            (0.2, 0.85),
            (0.24, 1.5),
            (0.74, 1.5),
            (0.8, 0.85),
            (0.82, 0.65),
            (0.79, 0.4),
            (0.84, -0.1),
        ],
        0.42,
        0.014,
    )
    canvas.bone((0.5, 0.52), (0.5 + lean, -0.1), (0.14, 0.1), 0.66, cortex=0.3, fades=True)
    canvas.shape(
        [
            (0.4, 0.35),
            (0.6, 0.35),
            (0.715, 0.5),
            (0.725, 0.6),
            (0.66, 0.665),
            (0.565, 0.655),
            (0.5, 0.605),
            (0.435, 0.655),
            (0.34, 0.665),
            (0.275, 0.6),
            (0.285, 0.5),
        ],
        0.44,
        0.004,
    )
    canvas.curve(
        [
            (0.28, 0.56),
            (0.3, 0.645),
            (0.37, 0.668),
            (0.44, 0.645),
            (0.5, 0.6),
            (0.56, 0.645),
            (0.63, 0.668),
            (0.7, 0.645),
            (0.72, 0.56),
        ],
        0.012,
        0.22,
    )
    canvas.ellipsoid((0.5, 0.45), (0.1, 0.105), 0.26)
    canvas.shape(
        [
            (0.275, 0.71),
            (0.36, 0.7),
            (0.455, 0.7),
            (0.482, 0.672),
            (0.5, 0.69),
            (0.518, 0.672),
            (0.545, 0.7),
            (0.64, 0.7),
            (0.725, 0.71),
            (0.715, 0.79),
            (0.62, 0.93),
            (0.385, 0.93),
            (0.285, 0.79),
        ],
        0.42,
        0.004,
    )
    canvas.curve([(0.28, 0.712), (0.37, 0.702), (0.46, 0.702)], 0.01, 0.26)
    canvas.curve([(0.54, 0.702), (0.63, 0.702), (0.72, 0.712)], 0.01, 0.26)
    canvas.bone((0.5, 0.8), (0.495 - lean, 1.5), (0.135, 0.09), 0.62, cortex=0.32, fades=True)
    canvas.ellipsoid((0.275, 0.845), (0.05, 0.055), 0.32)
    canvas.bone((0.27, 0.87), (0.3, 1.5), (0.032, 0.03), 0.5, cortex=0.4)


def foot(canvas: Canvas, chance: Generator) -> None:
    """A foot, dorsoplantar: five metatarsals and toes, the big toe widest, tarsal bones, heel."""
    canvas.shape(
        [
            (0.22, 0.98),
            (0.14, 0.7),
            (0.18, 0.5),
            (0.42, 0.44),
            (0.72, 0.55),
            (0.8, 0.72),
            (0.74, 1.0),
            (0.68, 1.4),
            (0.55, 1.52),
            (0.38, 1.5),
            (0.3, 1.3),
        ],
        0.36,
        0.012,
    )
    shift = chance.uniform(-0.012, 0.012)
    roots: list[Point] = [(0.345, 0.965), (0.43, 0.925), (0.51, 0.935), (0.585, 0.965), (0.655, 1.01)]
    tips: list[Point] = [
        (0.2 + shift, 0.12),
        (0.385 + shift, 0.14),
        (0.54 + shift, 0.19),
        (0.675 + shift, 0.27),
        (0.8 + shift, 0.37),
    ]
    parts: list[tuple[float, ...]] = [(0.0, 0.5, 0.79, 1.0)] + [(0.0, 0.58, 0.8, 0.9, 1.0)] * 4
    _rays(canvas, roots[1:], tips[1:], parts[1:], 0.027, 0.047)
    _rays(canvas, roots[:1], tips[:1], parts[:1], 0.052, 0.075)
    for side in (-0.03, 0.03):
        canvas.ellipsoid((0.28 + side, 0.585), (0.018, 0.022), 0.2)
    for x, y, w, h in (
        (0.345, 1.01, 0.05, 0.045),
        (0.435, 0.985, 0.042, 0.045),
        (0.51, 0.995, 0.04, 0.045),
        (0.625, 1.075, 0.062, 0.06),
        (0.415, 1.085, 0.09, 0.045),
    ):
        canvas.ellipsoid((x, y), (w, h), 0.4)
        canvas.ellipsoid((x, y), (w * 0.7, h * 0.66), -0.12)
    canvas.ellipsoid((0.44, 1.2), (0.1, 0.1), 0.44)
    canvas.shape(
        [(0.45, 1.15), (0.62, 1.14), (0.63, 1.3), (0.6, 1.46), (0.5, 1.5), (0.42, 1.44), (0.41, 1.28)], 0.36, 0.006
    )


def shoulder(canvas: Canvas, chance: Generator) -> None:
    """A right shoulder, AP: humeral head in the glenoid, acromion, clavicle, scapula, ribs and lung beside it."""
    canvas.shape(
        [
            (0.02, 1.1),
            (0.06, 0.42),
            (0.16, 0.2),
            (0.4, 0.1),
            (0.72, 0.02),
            (0.85, -0.1),
            (1.1, -0.1),
            (1.1, 1.1),
            (0.4, 1.1),
            (0.36, 0.72),
            (0.31, 1.1),
        ],
        0.5,
        0.016,
    )
    canvas.shape([(0.68, 1.1), (0.66, 0.6), (0.74, 0.36), (0.9, 0.22), (1.1, 0.2), (1.1, 1.1)], -0.3, 0.01)
    for index in range(5):
        y = 0.26 + index * 0.15
        canvas.curve([(1.06, y - 0.04), (0.85, y), (0.7 - 0.01 * index, y + 0.13), (0.72, y + 0.25)], 0.02, 0.22)
    drop = chance.uniform(-0.01, 0.01)
    canvas.ellipsoid((0.285, 0.37 + drop), (0.125, 0.125), 0.62)
    canvas.ellipsoid((0.205, 0.4 + drop), (0.06, 0.085), 0.3, turn=12)
    canvas.bone((0.265, 0.4), (0.17, 1.1), (0.09, 0.06), 0.62, cortex=0.34, fades=True)
    canvas.shape(
        [
            (0.425, 0.26),
            (0.47, 0.3),
            (0.6, 0.3),
            (0.7, 0.36),
            (0.66, 0.7),
            (0.6, 0.92),
            (0.5, 0.7),
            (0.445, 0.52),
            (0.42, 0.4),
        ],
        0.26,
        0.005,
    )
    canvas.curve([(0.435, 0.25), (0.415, 0.36), (0.44, 0.5), (0.52, 0.74), (0.6, 0.92)], 0.018, 0.28)
    canvas.curve([(0.22, 0.2), (0.33, 0.165), (0.45, 0.22), (0.62, 0.3)], 0.03, 0.4)
    canvas.curve([(0.38, 0.14), (0.55, 0.12), (0.75, 0.17), (0.98, 0.14)], 0.03, 0.46)
    canvas.ellipsoid((0.47, 0.28), (0.03, 0.06), 0.35, turn=-50)


def skull(canvas: Canvas, chance: Generator) -> None:
    """A skull, lateral, looking left: vault with two tables, sella, face, teeth, jaw, first vertebrae."""
    canvas.shape(
        [
            (0.16, 0.5),
            (0.12, 0.3),
            (0.22, 0.12),
            (0.45, 0.03),
            (0.72, 0.06),
            (0.9, 0.24),
            (0.93, 0.44),
            (0.82, 0.62),
            (0.72, 0.7),
            (0.74, 0.95),
            (0.45, 0.95),
            (0.38, 0.86),
            (0.2, 0.85),
            (0.14, 0.68),
            (0.09, 0.6),
        ],
        0.34,
        0.01,
    )
    canvas.ellipsoid((0.535, 0.325), (0.37, 0.275), 0.2)
    vault: list[Point] = [
        (0.185, 0.43),
        (0.165, 0.3),
        (0.25, 0.14),
        (0.45, 0.062),
        (0.7, 0.09),
        (0.86, 0.24),
        (0.895, 0.42),
        (0.79, 0.56),
        (0.65, 0.6),
        (0.56, 0.57),
    ]
    canvas.curve(vault, 0.021, 0.52, cortex=0.45, marrow=0.8)
    canvas.curve(
        [(0.185, 0.43), (0.3, 0.42), (0.41, 0.45), (0.435, 0.485), (0.47, 0.488), (0.49, 0.45), (0.6, 0.55)], 0.013, 0.4
    )
    canvas.ellipsoid((0.6, 0.52), (0.11, 0.055), 0.55, turn=24)
    canvas.ellipsoid((0.645, 0.545), (0.02, 0.014), -0.3)
    canvas.ellipsoid((0.275, 0.485), (0.065, 0.06), -0.12)
    canvas.curve([(0.2, 0.43), (0.19, 0.5), (0.26, 0.555), (0.34, 0.52)], 0.011, 0.34)
    canvas.ellipsoid((0.29, 0.6), (0.075, 0.058), -0.16)
    canvas.curve([(0.19, 0.56), (0.16, 0.655), (0.25, 0.675), (0.42, 0.665)], 0.014, 0.36)
    canvas.curve([(0.53, 0.57), (0.52, 0.7), (0.42, 0.805), (0.26, 0.855), (0.17, 0.825)], 0.032, 0.5, cortex=0.4)
    for tooth in range(7):
        x = 0.185 + tooth * 0.033
        canvas.bone((x, 0.685), (x + 0.002, 0.74), (0.012, 0.014), 0.5, cortex=0.9)
        canvas.bone((x, 0.748), (x + 0.004, 0.8), (0.014, 0.01), 0.5, cortex=0.9)
    for index in range(3):
        y = 0.69 + index * 0.085
        canvas.vertebra((0.645 - 0.012 * index, y), (0.045, 0.032), 0.36, turn=6, arch=False)
        canvas.bone((0.71, y + 0.01), (0.8, y + 0.035), (0.016, 0.013), 0.3)
    for _ in range(10):
        x, y = chance.uniform(0.3, 0.8), chance.uniform(0.12, 0.4)
        canvas.ellipsoid((x, y), (0.05, 0.04), chance.uniform(-0.03, 0.04))
