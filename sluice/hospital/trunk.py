"""Drawings of chest, abdomen and pelvis. Image left is the patient's right."""

from __future__ import annotations

import numpy as np

from sluice.hospital.ink import Canvas, Point
from sluice.hospital.spine import lumbar

Generator = np.random.Generator


def _ribs(canvas: Canvas, count: int, top: float, step: float, reach: float, droop: float, thick: float) -> None:
    """Posterior ribs from the spine outwards and down, and fainter anterior ends coming back."""
    for index in range(count):
        y = top + index * step
        width = reach * (0.55 + 0.45 * np.sin(min(index / 5.0, 1.0) * np.pi / 2))
        for side in (-1, 1):
            points: list[Point] = [
                (0.5 + side * 0.045, y),
                (0.5 + side * width * 0.4, y - 0.012),
                (0.5 + side * width * 0.8, y + droop * 0.45),
                (0.5 + side * width, y + droop * 1.1),
            ]
            canvas.curve(points, thick, 0.2)
            if index < count - 3:
                back: list[Point] = [
                    (0.5 + side * width, y + droop * 1.1),
                    (0.5 + side * width * 0.85, y + droop * 1.9),
                    (0.5 + side * width * 0.5, y + droop * 2.4),
                ]
                canvas.curve(back, thick * 0.95, 0.11)


def chest(canvas: Canvas, chance: Generator) -> None:
    """An adult's chest, PA: two aerated lungs, heart to the patient's left, ribs, clavicles, diaphragm."""
    wide = chance.uniform(0.95, 1.03)
    canvas.shape(
        [
            (0.06, 1.1),
            (0.05, 0.45),
            (0.12, 0.2),
            (0.38, 0.1),
            (0.42, -0.1),
            (0.58, -0.1),
            (0.62, 0.1),
            (0.88, 0.2),
            (0.95, 0.45),
            (0.94, 1.1),
        ],
        0.95,
        0.012,
    )
    right = [
        (0.44, 0.2),
        (0.36, 0.11),
        (0.26, 0.17),
        (0.18, 0.38),
        (0.145, 0.62),
        (0.14, 0.8),
        (0.25, 0.735),
        (0.36, 0.73),
        (0.42, 0.77),
        (0.43, 0.5),
    ]
    left = [
        (0.56, 0.2),
        (0.64, 0.11),
        (0.74, 0.17),
        (0.82, 0.38),
        (0.855, 0.62),
        (0.86, 0.83),
        (0.76, 0.775),
        (0.66, 0.77),
        (0.59, 0.81),
        (0.56, 0.5),
    ]
    for lung in (right, left):
        canvas.shape([(0.5 + (x - 0.5) * wide, y) for x, y in lung], -0.72, 0.008)
    # Heart, aortic knob, pulmonary hila.
    canvas.shape(
        [
            (0.44, 0.4),
            (0.42, 0.55),
            (0.405, 0.66),
            (0.44, 0.77),
            (0.58, 0.8),
            (0.715, 0.77),
            (0.69, 0.66),
            (0.62, 0.54),
            (0.575, 0.42),
            (0.56, 0.33),
            (0.47, 0.32),
        ],
        0.42,
        0.012,
    )
    canvas.ellipsoid((0.565, 0.315), (0.04, 0.045), 0.3)
    for side in (-1, 1):
        root = (0.5 + side * 0.1, 0.5 - 0.02 * side)
        canvas.ellipsoid(root, (0.04, 0.075), 0.2, turn=side * 18)
        for _ in range(16):
            angle = chance.uniform(-1.3, 1.35)
            length = chance.uniform(0.1, 0.24)
            tip = (root[0] + side * length * np.cos(angle), root[1] + length * np.sin(angle))
            canvas.bone(root, tip, (0.006, 0.0015), 0.09, cortex=1.0)
    canvas.ellipsoid((0.5, 0.14), (0.022, 0.22), -0.22)
    for index in range(13):
        canvas.vertebra((0.5, 0.04 + index * 0.072), (0.038, 0.028), 0.2, arch=index < 6)
    _ribs(canvas, 10, 0.13, 0.066, 0.375 * wide, 0.075, 0.0125)
    for side in (-1, 1):
        canvas.curve(
            [
                (0.5 + side * 0.035, 0.235),
                (0.5 + side * 0.16, 0.185),
                (0.5 + side * 0.3, 0.165),
                (0.5 + side * 0.41, 0.13),
            ],
            0.016,
            0.34,
        )
        canvas.shape(
            [(0.5 + side * 0.39, 0.2), (0.5 + side * 0.36, 0.35), (0.5 + side * 0.39, 0.52), (0.5 + side * 0.43, 0.36)],
            0.16,
            0.006,
        )
    canvas.shape([(0.14, 0.82), (0.25, 0.745), (0.37, 0.745), (0.44, 0.8), (0.44, 1.1), (0.1, 1.1)], 0.35, 0.012)
    canvas.ellipsoid((0.72, 0.86), (0.06, 0.035), -0.3, edge=0.5)


def child_chest(canvas: Canvas, chance: Generator) -> None:
    """A small child's chest, AP lying: square, ribs level, broad thymus and heart, arms raised."""
    canvas.shape(
        [
            (0.14, 1.05),
            (0.13, 0.5),
            (0.16, 0.27),
            (0.05, 0.12),
            (0.1, 0.0),
            (0.34, 0.1),
            (0.42, 0.05),
            (0.42, -0.1),
            (0.58, -0.1),
            (0.58, 0.05),
            (0.66, 0.1),
            (0.9, 0.0),
            (0.95, 0.12),
            (0.84, 0.27),
            (0.87, 0.5),
            (0.86, 1.05),
        ],
        0.8,
        0.012,
    )
    for side in (-1, 1):
        canvas.shape(
            [
                (0.5 + side * x, y)
                for x, y in (
                    (0.07, 0.22),
                    (0.13, 0.16),
                    (0.22, 0.21),
                    (0.285, 0.38),
                    (0.305, 0.55),
                    (0.3, 0.665),
                    (0.21, 0.615),
                    (0.12, 0.63),
                    (0.09, 0.45),
                )
            ],
            -0.6,
            0.008,
        )
        canvas.bone((0.5 + side * 0.37, 0.13), (0.5 + side * 0.52, 0.01), (0.024, 0.02), 0.4)
        canvas.curve([(0.5 + side * 0.04, 0.2), (0.5 + side * 0.15, 0.165), (0.5 + side * 0.3, 0.15)], 0.012, 0.3)
    canvas.shape(
        [
            (0.42, 0.2),
            (0.38, 0.3),
            (0.4, 0.42),
            (0.37, 0.55),
            (0.42, 0.66),
            (0.58, 0.67),
            (0.685, 0.62),
            (0.66, 0.5),
            (0.61, 0.42),
            (0.635, 0.32),
            (0.58, 0.2),
        ],
        0.42,
        0.012,
    )
    canvas.ellipsoid((0.5, 0.12), (0.018, 0.16), -0.18)
    for index in range(16):
        canvas.vertebra((0.5, 0.05 + index * 0.057), (0.03, 0.019), 0.24, arch=True)
    _ribs(canvas, 10, 0.185, 0.05, 0.3, 0.028, 0.0095)
    for _ in range(3):
        canvas.ellipsoid((chance.uniform(0.3, 0.72), chance.uniform(0.82, 0.92)), (0.07, 0.04), -0.3)
    canvas.ellipsoid((0.66, 0.75), (0.085, 0.055), -0.35)


def abdomen(canvas: Canvas, chance: Generator) -> None:
    """An abdomen, AP lying: lumbar spine, lowest ribs, iliac wings, psoas, bowel gas."""
    _belly(canvas)
    for index in range(7):
        y = 0.1 + index * 0.122
        lumbar(canvas, (0.5, y), index, (0.062, 0.046))
    _pelvic_ring(canvas, 1.0, 0.92)
    for side in (-1, 1):
        canvas.shape(
            [
                (0.5 + side * 0.06, 0.35),
                (0.5 + side * 0.1, 0.6),
                (0.5 + side * 0.2, 0.95),
                (0.5 + side * 0.1, 0.98),
                (0.5 + side * 0.05, 0.7),
            ],
            0.1,
            0.008,
        )
        canvas.ellipsoid((0.5 + side * 0.19, 0.44), (0.065, 0.12), 0.16, turn=side * -14)
        for index in range(3):
            y = 0.03 + index * 0.1
            canvas.curve(
                [
                    (0.5 + side * 0.06, y),
                    (0.5 + side * 0.2, y + 0.015),
                    (0.5 + side * 0.32, y + 0.1),
                    (0.5 + side * (0.4 - 0.05 * index), y + 0.2),
                ],
                0.013,
                0.2,
            )
    canvas.shape([(0.07, 0.0), (0.42, 0.0), (0.4, 0.16), (0.25, 0.42), (0.1, 0.48)], 0.18, 0.02)
    _bowel_gas(canvas, chance)


def _belly(canvas: Canvas) -> None:
    canvas.shape(
        [
            (0.06, -0.1),
            (0.045, 0.35),
            (0.08, 0.62),
            (0.03, 0.95),
            (0.04, 1.4),
            (0.96, 1.4),
            (0.97, 0.95),
            (0.92, 0.62),
            (0.955, 0.35),
            (0.94, -0.1),
        ],
        1.0,
        0.014,
    )


def _bowel_gas(canvas: Canvas, chance: Generator) -> None:
    """Gas in the stomach, along the frame of the colon and in a few loops of small bowel."""
    canvas.ellipsoid((0.68, 0.2), (0.1, 0.055), -0.34, turn=-18)
    frame = [
        (0.17, 0.82),
        (0.165, 0.7),
        (0.175, 0.58),
        (0.25, 0.47),
        (0.38, 0.45),
        (0.52, 0.47),
        (0.66, 0.43),
        (0.79, 0.42),
        (0.83, 0.55),
        (0.84, 0.68),
        (0.82, 0.8),
    ]
    for x, y in frame:
        if chance.random() < 0.75:
            for _ in range(2):
                place = (x + chance.uniform(-0.022, 0.022), y + chance.uniform(-0.022, 0.022))
                canvas.ellipsoid(
                    place, (chance.uniform(0.025, 0.045), chance.uniform(0.025, 0.04)), -chance.uniform(0.16, 0.32)
                )
    for _ in range(9):
        place = (chance.uniform(0.33, 0.67), chance.uniform(0.58, 0.9))
        canvas.ellipsoid(
            place,
            (chance.uniform(0.018, 0.04), chance.uniform(0.014, 0.024)),
            -chance.uniform(0.1, 0.24),
            turn=chance.uniform(0, 180),
        )


def _pelvic_ring(canvas: Canvas, scale: float, top: float) -> None:
    """Iliac wings, sacrum, pubic rami and hips; `top` is the iliac crest's y."""

    def at(side: int, x: float, y: float) -> Point:
        return (0.5 + side * x * scale, top + y * scale)

    for side in (-1, 1):
        canvas.shape(
            [
                at(side, *p)
                for p in (
                    (0.095, 0.09),
                    (0.16, 0.02),
                    (0.27, -0.03),
                    (0.37, 0.03),
                    (0.41, 0.13),
                    (0.38, 0.24),
                    (0.31, 0.3),
                    (0.22, 0.3),
                    (0.15, 0.24),
                )
            ],
            0.3,
            0.004,
        )
        canvas.curve(
            [
                at(side, *p)
                for p in ((0.1, 0.07), (0.17, 0.01), (0.27, -0.035), (0.37, 0.025), (0.415, 0.13), (0.385, 0.24))
            ],
            0.011,
            0.3,
        )
        canvas.curve(
            [at(side, *p) for p in ((0.1, 0.2), (0.16, 0.3), (0.165, 0.38), (0.1, 0.435), (0.015, 0.45))], 0.02, 0.34
        )
        canvas.curve(
            [at(side, *p) for p in ((0.19, 0.38), (0.19, 0.5), (0.13, 0.545), (0.05, 0.51), (0.018, 0.46))], 0.024, 0.34
        )
        canvas.ellipsoid(at(side, 0.285, 0.355), (0.068 * scale, 0.068 * scale), 0.42)
        canvas.curve([at(side, *p) for p in ((0.235, 0.29), (0.31, 0.275), (0.36, 0.32))], 0.012, 0.26)
        canvas.bone(at(side, 0.29, 0.36), at(side, 0.385, 0.43), (0.05 * scale, 0.048 * scale), 0.4)
        canvas.ellipsoid(at(side, 0.415, 0.39), (0.038 * scale, 0.055 * scale), 0.36, turn=side * 25)
        canvas.bone(at(side, 0.385, 0.45), at(side, 0.365, 0.85), (0.048 * scale, 0.042 * scale), 0.55, cortex=0.36)
        canvas.ellipsoid(at(side, 0.345, 0.475), (0.024 * scale, 0.03 * scale), 0.25)
    canvas.shape(
        [
            at(1, *p)
            for p in (
                (-0.115, 0.03),
                (0.0, 0.01),
                (0.115, 0.03),
                (0.075, 0.2),
                (0.02, 0.33),
                (-0.02, 0.33),
                (-0.075, 0.2),
            )
        ],
        0.34,
        0.006,
    )
    for row in range(4):
        for side in (-1, 1):
            canvas.ellipsoid(at(side, 0.062 - 0.01 * row, 0.09 + 0.05 * row), (0.016 * scale, 0.011 * scale), -0.2)


def pelvis(canvas: Canvas, chance: Generator) -> None:
    """A pelvis, AP: both wings, sacrum, obturator rings, hips and upper femurs."""
    canvas.shape(
        [
            (0.02, -0.1),
            (0.02, 0.3),
            (0.04, 0.9),
            (0.43, 0.9),
            (0.5, 0.68),
            (0.57, 0.9),
            (0.96, 0.9),
            (0.98, 0.3),
            (0.98, -0.1),
        ],
        0.85,
        0.014,
    )
    for index in range(2):
        lumbar(canvas, (0.5, 0.0 + index * 0.115), index, (0.06, 0.044))
    _pelvic_ring(canvas, 1.04, 0.16)
    for _ in range(7):
        canvas.ellipsoid(
            (chance.uniform(0.38, 0.62), chance.uniform(0.06, 0.36)),
            (chance.uniform(0.02, 0.045), chance.uniform(0.015, 0.03)),
            -chance.uniform(0.1, 0.22),
        )
