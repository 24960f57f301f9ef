"""Attenuation drawn on a canvas: soft tissue, air, hollow bones, wires.

A radiograph shows the sum of what the rays met. Every shape here adds (or, for gas, takes away) the length of
the ray inside it, so overlapping parts look as they do on film: a shaft is brighter at its two cortices than
in the middle, and a vertebra shows through the heart.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Field = npt.NDArray[np.float32]
Point = tuple[float, float]
Window = tuple[slice, slice]


class Canvas:
    """A picture of attenuation; x runs 0..1 over the width, y 0..height/width downwards.

    Attributes:
        field: attenuation, arbitrary units (1 is a trunk of soft tissue), float32, shape (rows, columns).
    """

    def __init__(self, rows: int, columns: int) -> None:
        self.field: Field = np.zeros((rows, columns), np.float32)
        self.pixel = 1.0 / columns
        self.y, self.x = np.mgrid[0:rows, 0:columns].astype(np.float32) * np.float32(self.pixel)

    def ellipsoid(self, centre: Point, radii: Point, amount: float, turn: float = 0.0, edge: float = 0.0) -> None:
        """Add an ellipsoid's ray length, at most `amount`; `turn` in degrees; `edge` > 0 flattens it like a slab."""
        angle = np.deg2rad(turn)
        reach = max(radii)
        here = self._window(centre[0] - reach, centre[0] + reach, centre[1] - reach, centre[1] + reach)
        dx, dy = self.x[here] - centre[0], self.y[here] - centre[1]
        u = (dx * np.cos(angle) + dy * np.sin(angle)) / radii[0]
        v = (-dx * np.sin(angle) + dy * np.cos(angle)) / radii[1]
        inside = np.clip(1.0 - u * u - v * v, 0.0, None)
        self.field[here] += amount * (np.clip(inside / edge, 0, 1) if edge else np.sqrt(inside))

    def shape(self, outline: list[Point], amount: float, softness: float) -> None:
        """Add a filled closed curve through `outline`, smoothed by `softness` (fraction of the width)."""
        rows, columns = self.field.shape
        mask = Image.new("L", (columns * 2, rows * 2))
        ImageDraw.Draw(mask).polygon([(x / self.pixel * 2, y / self.pixel * 2) for x, y in smooth(outline)], fill=255)
        mask = mask.resize((columns, rows), Image.Resampling.BOX)
        mask = mask.filter(ImageFilter.GaussianBlur(softness / self.pixel))
        self.field += np.float32(amount / 255.0) * np.asarray(mask, np.float32)

    def bone(
        self,
        start: Point,
        end: Point,
        radii: Point,
        amount: float,
        cortex: float = 0.3,
        marrow: float = 0.75,
        fades: bool = False,
    ) -> None:
        """Add a hollow tapered bone: `radii` at start and end, `cortex` the wall's share of the radius.

        With `fades` the shaft dissolves at its `start`, as cortical bone does where it widens into a joint.
        """
        here = self._around(start, end, max(radii))
        along, distance = self._along(start, end, here)
        shaft = _tube(distance, radii[0] + (radii[1] - radii[0]) * along, amount, cortex, marrow)
        if fades:
            length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
            shaft *= np.clip(along * np.float32(length / (1.2 * radii[0])), 0, 1)
        self.field[here] += shaft

    def curve(
        self, points: list[Point], radius: float, amount: float, cortex: float = 0.4, marrow: float = 0.6
    ) -> None:
        """Add one bent hollow tube through `points` (a rib); overlaps of its own pieces are not counted twice."""
        path = smooth(points, closed=False)
        across, down = [x for x, _ in path], [y for _, y in path]
        whole = self._window(min(across) - radius, max(across) + radius, min(down) - radius, max(down) + radius)
        nearest = np.full(self.field.shape, 9.0, np.float32)
        for start, end in pairwise(path):
            here = self._around(start, end, radius)
            nearest[here] = np.minimum(nearest[here], self._along(start, end, here)[1])
        self.field[whole] += _tube(nearest[whole], radius, amount, cortex, marrow)

    def wire(self, points: list[Point], radius: float, amount: float) -> None:
        """Add a solid metal wire along straight pieces."""
        for start, end in pairwise(points):
            here = self._around(start, end, radius + self.pixel)
            _, distance = self._along(start, end, here)
            self.field[here] += np.float32(amount) * np.clip((radius - distance) / self.pixel + 0.5, 0, 1)

    def vertebra(self, centre: Point, size: Point, amount: float, turn: float = 0.0, arch: bool = True) -> None:
        """Add a vertebral body seen from the front: dense endplates and walls, pedicles, spinous process."""
        angle = np.deg2rad(turn)
        reach = 1.3 * max(size)
        here = self._window(centre[0] - reach, centre[0] + reach, centre[1] - reach, centre[1] + reach)
        dx, dy = self.x[here] - centre[0], self.y[here] - centre[1]
        u = (dx * np.cos(angle) + dy * np.sin(angle)) / size[0]
        v = (-dx * np.sin(angle) + dy * np.cos(angle)) / size[1]
        # Waisted: the body is narrower in the middle than at its endplates.
        u = u * (1.0 + 0.16 * np.clip(1 - v * v, 0, 1))
        rim = (u * u * np.abs(u) ** 3 + v * v * np.abs(v) ** 3) ** np.float32(0.2)
        sharp = np.float32(size[0] / self.pixel / 3)
        self.field[here] += amount * (np.clip((1.0 - rim) * sharp, 0, 1) - 0.5 * np.clip((0.87 - rim) * sharp, 0, 1))
        if arch:
            for side in (-0.55, 0.55):
                place = (centre[0] + side * size[0], centre[1] - 0.15 * size[1])
                self.ellipsoid(place, (0.17 * size[0], 0.3 * size[1]), amount * 0.55)
                self.ellipsoid(place, (0.1 * size[0], 0.2 * size[1]), -amount * 0.25)
            self.ellipsoid((centre[0], centre[1] + 0.45 * size[1]), (0.11 * size[0], 0.55 * size[1]), amount * 0.5)

    def _window(self, left: float, right: float, top: float, bottom: float) -> Window:
        """The pixels of a box, two more on each side."""
        rows = slice(max(int(top / self.pixel) - 2, 0), max(int(bottom / self.pixel) + 3, 0))
        return rows, slice(max(int(left / self.pixel) - 2, 0), max(int(right / self.pixel) + 3, 0))

    def _around(self, start: Point, end: Point, radius: float) -> Window:
        return self._window(
            min(start[0], end[0]) - radius,
            max(start[0], end[0]) + radius,
            min(start[1], end[1]) - radius,
            max(start[1], end[1]) + radius,
        )

    def _along(self, start: Point, end: Point, here: Window) -> tuple[Field, Field]:
        """How far along the piece (0..1) each pixel lies, and its distance from it."""
        dx, dy = np.float32(end[0] - start[0]), np.float32(end[1] - start[1])
        x, y = self.x[here] - np.float32(start[0]), self.y[here] - np.float32(start[1])
        along = np.clip((x * dx + y * dy) / max(dx * dx + dy * dy, np.float32(1e-12)), 0.0, 1.0)
        return along, np.hypot(x - along * dx, y - along * dy)


def _tube(distance: Field, radius: Field | float, amount: float, cortex: float, marrow: float) -> Field:
    """The ray's length in the wall of a hollow tube, the marrow counting less."""
    square = (distance / radius) ** 2
    outer = np.sqrt(np.clip(1.0 - square, 0, None))
    inner = np.sqrt(np.clip((1.0 - cortex) ** 2 - square, 0, None))
    return np.asarray(amount * (outer - marrow * inner), np.float32)


def smooth(points: list[Point], closed: bool = True, steps: int = 8) -> list[Point]:
    """A Catmull-Rom curve through `points`."""
    count = len(points)
    result: list[Point] = []
    for place in range(count if closed else count - 1):
        if closed:
            a, b, c, d = (points[(place + shift) % count] for shift in (-1, 0, 1, 2))
        else:
            a, b, c, d = (points[min(max(place + shift, 0), count - 1)] for shift in (-1, 0, 1, 2))
        for step in range(steps):
            t = step / steps
            result.append(
                (_spline(a[0], b[0], c[0], d[0], t), _spline(a[1], b[1], c[1], d[1], t)),
            )
    if not closed:
        result.append(points[-1])
    return result


def _spline(a: float, b: float, c: float, d: float, t: float) -> float:
    return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t * t + (3 * b - a - 3 * c + d) * t**3)
