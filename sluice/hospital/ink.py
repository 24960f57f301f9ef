"""Attenuation drawn on a canvas: soft tissue, air, hollow bones, wires.

A radiograph shows the sum of what the rays met. Every shape here adds (or, for gas, takes away) the length of
the ray inside it, so overlapping parts look as they do on film: a shaft is brighter at its two cortices than
in the middle, and a vertebra shows through the heart.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]
Point = tuple[float, float]


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
        dx, dy = self.x - centre[0], self.y - centre[1]
        u = (dx * np.cos(angle) + dy * np.sin(angle)) / radii[0]
        v = (-dx * np.sin(angle) + dy * np.cos(angle)) / radii[1]
        inside = np.clip(1.0 - u * u - v * v, 0.0, None)
        self.field += np.float32(amount) * (np.clip(inside / edge, 0, 1) if edge else np.sqrt(inside))

    def shape(self, outline: list[Point], amount: float, softness: float) -> None:
        """Add a filled closed curve through `outline`, smoothed by `softness` (fraction of the width)."""
        from PIL import Image, ImageDraw, ImageFilter

        rows, columns = self.field.shape
        mask = Image.new("L", (columns * 2, rows * 2))
        curve = smooth(outline)
        ImageDraw.Draw(mask).polygon([(x / self.pixel * 2, y / self.pixel * 2) for x, y in curve], fill=255)
        mask = mask.resize((columns, rows), Image.Resampling.BOX)
        mask = mask.filter(ImageFilter.GaussianBlur(softness / self.pixel))
        self.field += np.float32(amount) * np.asarray(mask, np.float32) / 255.0

    def bone(
        self, start: Point, end: Point, radii: Point, amount: float, cortex: float = 0.3, marrow: float = 0.75
    ) -> None:
        """Add a hollow tapered bone: `radii` at start and end, `cortex` the wall's share of the radius."""
        along, distance = self._along(start, end)
        radius = radii[0] + (radii[1] - radii[0]) * along
        self._tube(distance, radius, amount, cortex, marrow)

    def curve(
        self, points: list[Point], radius: float, amount: float, cortex: float = 0.4, marrow: float = 0.6
    ) -> None:
        """Add one bent hollow tube through `points` (a rib); overlaps of its own pieces are not counted twice."""
        nearest = np.full(self.field.shape, np.inf, np.float32)
        path = smooth(points, closed=False)
        for start, end in zip(path, path[1:], strict=False):
            left, right = min(start[0], end[0]) - 2 * radius, max(start[0], end[0]) + 2 * radius
            top, bottom = min(start[1], end[1]) - 2 * radius, max(start[1], end[1]) + 2 * radius
            rows = slice(max(int(top / self.pixel), 0), max(int(bottom / self.pixel) + 1, 0))
            columns = slice(max(int(left / self.pixel), 0), max(int(right / self.pixel) + 1, 0))
            _, distance = self._along(start, end, rows, columns)
            nearest[rows, columns] = np.minimum(nearest[rows, columns], distance)
        self._tube(np.where(np.isinf(nearest), 9.0, nearest).astype(np.float32), radius, amount, cortex, marrow)

    def wire(self, points: list[Point], radius: float, amount: float) -> None:
        """Add a solid metal wire along straight pieces."""
        for start, end in zip(points, points[1:], strict=False):
            _, distance = self._along(start, end)
            self.field += np.float32(amount) * np.clip((radius - distance) / self.pixel + 0.5, 0, 1)

    def vertebra(self, centre: Point, size: Point, amount: float, turn: float = 0.0, arch: bool = True) -> None:
        """Add a vertebral body seen from the front: dense endplates and walls, pedicles, spinous process."""
        angle = np.deg2rad(turn)
        dx, dy = self.x - centre[0], self.y - centre[1]
        u = (dx * np.cos(angle) + dy * np.sin(angle)) / size[0]
        v = (-dx * np.sin(angle) + dy * np.cos(angle)) / size[1]
        # Waisted: the body is narrower in the middle than at its endplates.
        u = u * (1.0 + 0.16 * np.clip(1 - v * v, 0, 1))
        reach = (np.abs(u) ** 5 + np.abs(v) ** 5) ** 0.2
        sharp = np.float32(size[0] / self.pixel / 3)
        body = np.clip((1.0 - reach) * sharp, 0, 1)
        core = np.clip((0.87 - reach) * sharp, 0, 1)
        self.field += np.float32(amount) * (body - 0.5 * core).astype(np.float32)
        if arch:
            for side in (-0.55, 0.55):
                place = (centre[0] + side * size[0], centre[1] - 0.15 * size[1])
                self.ellipsoid(place, (0.17 * size[0], 0.3 * size[1]), amount * 0.55)
                self.ellipsoid(place, (0.1 * size[0], 0.2 * size[1]), -amount * 0.25)
            self.ellipsoid((centre[0], centre[1] + 0.45 * size[1]), (0.11 * size[0], 0.55 * size[1]), amount * 0.5)

    def _along(
        self, start: Point, end: Point, rows: slice = slice(None), columns: slice = slice(None)
    ) -> tuple[Field, Field]:
        """How far along the piece (0..1) each pixel lies, and its distance from it."""
        dx, dy = end[0] - start[0], end[1] - start[1]
        x, y = self.x[rows, columns] - start[0], self.y[rows, columns] - start[1]
        length = max(dx * dx + dy * dy, 1e-12)
        along = np.clip((x * dx + y * dy) / length, 0.0, 1.0)
        return along.astype(np.float32), np.hypot(x - along * dx, y - along * dy).astype(np.float32)

    def _tube(self, distance: Field, radius: Field | float, amount: float, cortex: float, marrow: float) -> None:
        outer = np.sqrt(np.clip(1.0 - (distance / radius) ** 2, 0, None))
        inner = np.sqrt(np.clip((1.0 - cortex) ** 2 - (distance / radius) ** 2, 0, None))
        self.field += np.float32(amount) * (outer - marrow * inner)


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
