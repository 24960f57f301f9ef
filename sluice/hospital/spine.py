"""Drawings of the spine, and of a filter in the vein beside it. Image left is the patient's right."""

from __future__ import annotations

import numpy as np

from sluice.hospital.ink import Canvas, Point

Generator = np.random.Generator


def lumbar(canvas: Canvas, centre: Point, index: int, size: Point) -> None:
    """One lumbar vertebra with its transverse processes."""
    canvas.vertebra(centre, size, 0.62)
    for side in (-1, 1):
        canvas.bone(
            (centre[0] + side * size[0] * 0.8, centre[1] - 0.1 * size[1]),
            (centre[0] + side * size[0] * 1.75, centre[1] - 0.22 * size[1]),
            (0.012, 0.008),
            0.24,
        )


def lumbar_spine(canvas: Canvas, chance: Generator) -> None:
    """A lumbar spine, AP, collimated to the spine: five bodies with pedicles and processes on the sacrum."""
    canvas.field += np.float32(0.95)
    bend = chance.uniform(-0.02, 0.02)
    for index in range(7):
        y = 0.06 + index * 0.205
        x = 0.5 + bend * np.sin(index / 6 * np.pi)
        lumbar(canvas, (float(x), y), index, (0.135 + 0.006 * index, 0.08))
        if index < 2:
            for side in (-1, 1):
                canvas.curve(
                    [(0.5 + side * 0.14, y), (0.5 + side * 0.34, y + 0.03), (0.5 + side * 0.5, y + 0.16)], 0.022, 0.24
                )
    for side in (-1, 1):
        canvas.shape(
            [(0.5 + side * 0.14, 0.5), (0.5 + side * 0.24, 1.0), (0.5 + side * 0.4, 1.6), (0.5 + side * 0.1, 1.6)],
            0.1,
            0.012,
        )
        canvas.shape(
            [
                (0.5 + side * 0.24, 1.42),
                (0.5 + side * 0.4, 1.27),
                (0.5 + side * 0.6, 1.26),
                (0.5 + side * 0.6, 1.7),
                (0.5 + side * 0.24, 1.7),
            ],
            0.32,
            0.006,
        )
    canvas.shape([(0.25, 1.42), (0.5, 1.38), (0.75, 1.42), (0.66, 1.7), (0.34, 1.7)], 0.4, 0.008)
    for _ in range(8):
        canvas.ellipsoid(
            (chance.choice((0.12, 0.2, 0.82, 0.9)), chance.uniform(0.3, 1.3)),
            (chance.uniform(0.03, 0.07), chance.uniform(0.03, 0.06)),
            -chance.uniform(0.08, 0.2),
        )


def thoracic_spine(canvas: Canvas, chance: Generator) -> None:
    """A thoracic spine, AP, collimated: twelve bodies with ribs leaving on both sides between dark lungs."""
    canvas.field += np.float32(0.8)
    for side in (-1, 1):
        canvas.shape(
            [(0.5 + side * 0.2, 0.1), (0.5 + side * 0.6, 0.1), (0.5 + side * 0.6, 1.3), (0.5 + side * 0.22, 1.25)],
            -0.4,
            0.02,
        )
    canvas.ellipsoid((0.62, 0.95), (0.2, 0.3), 0.2)
    for index in range(12):
        y = 0.07 + index * 0.125
        canvas.vertebra((0.5, y), (0.095 + 0.003 * index, 0.05), 0.5)
        for side in (-1, 1):
            canvas.curve(
                [(0.5 + side * 0.1, y - 0.02), (0.5 + side * 0.3, y - 0.03), (0.5 + side * 0.55, y + 0.06)], 0.02, 0.24
            )


def cervical_spine(canvas: Canvas, chance: Generator) -> None:
    """A cervical spine, lateral: seven stepped bodies in a curve, spinous processes, jaw, airway."""
    canvas.shape(
        [
            (0.18, -0.1),
            (0.24, 0.42),
            (0.33, 0.52),
            (0.33, 0.85),
            (0.1, 1.3),
            (0.98, 1.35),
            (0.86, 0.95),
            (0.83, 0.5),
            (0.9, -0.1),
        ],
        0.7,
        0.014,
    )
    lean = chance.uniform(-0.02, 0.02)
    for index in range(7):
        y = 0.24 + index * 0.112
        x = 0.535 - 0.05 * np.sin((index + 0.3) / 6.5 * np.pi) + lean * index / 6 + 0.022 * index / 6
        size = (0.062 + 0.003 * index, 0.042)
        canvas.vertebra((float(x), y), size, 0.5, turn=-8 + index * 3, arch=False)
        canvas.ellipsoid((float(x) + 0.098, y + 0.012), (0.036, 0.05), 0.34, turn=28)
        reach = 0.1 + (0.11 if index in (1, 6, 5) else 0.05)
        canvas.bone((float(x) + 0.12, y + 0.025), (float(x) + 0.12 + reach, y + 0.06), (0.022, 0.016), 0.36)
    canvas.bone((0.53, 0.14), (0.53, 0.23), (0.028, 0.04), 0.42)
    canvas.bone((0.49, 0.135), (0.7, 0.15), (0.02, 0.022), 0.34)
    canvas.shape([(0.5, -0.05), (0.72, 0.07), (0.93, 0.0), (0.95, -0.1), (0.45, -0.1)], 0.55, 0.01)
    canvas.curve([(0.49, 0.0), (0.46, 0.16), (0.37, 0.26), (0.22, 0.3), (0.19, 0.24)], 0.034, 0.5)
    for tooth in range(4):
        canvas.bone((0.21 + tooth * 0.042, 0.21), (0.215 + tooth * 0.042, 0.27), (0.017, 0.011), 0.5, cortex=0.8)
    canvas.shape(
        [
            (0.41, 0.18),
            (0.445, 0.34),
            (0.42, 0.6),
            (0.4, 0.9),
            (0.38, 1.3),
            (0.325, 1.3),
            (0.345, 0.9),
            (0.365, 0.6),
            (0.4, 0.36),
        ],
        -0.3,
        0.006,
    )
    canvas.bone((0.32, 0.42), (0.4, 0.44), (0.011, 0.009), 0.3)


def ivc_filter(canvas: Canvas, chance: Generator) -> None:
    """A cone of metal wires in the inferior vena cava, just right of the spine at L2/L3, its hook upwards."""
    scale = 2.1 if canvas.field.shape[0] / canvas.field.shape[1] > 1.5 else 1.0
    tilt = chance.uniform(-0.22, 0.22)
    top = (
        0.5 - 0.052 * scale + chance.uniform(-0.008, 0.008),
        (0.375 if scale == 1 else 0.52) + chance.uniform(-0.02, 0.02),
    )
    length, spread = 0.13 * scale, 0.045 * scale
    wire = max(0.0016 * scale, canvas.pixel * 0.6)

    def at(x: float, y: float) -> Point:
        x, y = x * scale, y * scale
        return (
            float(top[0] + x * np.cos(tilt) - y * np.sin(tilt)),
            float(top[1] + x * np.sin(tilt) + y * np.cos(tilt)),
        )

    canvas.wire([at(0.007, -0.007), at(0.004, -0.013), at(-0.002, -0.011), at(0.0, 0.0)], wire, 1.1)
    canvas.wire([at(0, 0), at(0, 0.014)], wire * 2.2, 1.2)
    struts = int(chance.integers(5, 8))
    for index in range(struts):
        # Struts stand on a circle; seen from the side their feet crowd towards the edges.
        foot = float(np.cos(np.pi * (index + 0.5) / struts)) * spread / scale
        depth = float(np.sin(np.pi * (index + 0.5) / struts)) * 0.012
        foot_y = length / scale - 0.006 + depth
        canvas.wire(
            [at(0, 0.012), at(foot * 0.28, foot_y * 0.3), at(foot * 0.8, foot_y * 0.75), at(foot, foot_y)], wire, 1.0
        )
        canvas.wire([at(foot, foot_y), at(foot * 1.13, foot_y - 0.005)], wire, 1.0)
