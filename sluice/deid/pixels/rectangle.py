"""Rectangles of an image, in pixels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, order=True)
class Rectangle:
    """A rectangle of an image; the upper left pixel of the image is column 0, row 0.

    Attributes:
        left, top: its upper left pixel.
        width, height: pixels, both above zero.
    """

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """The first column behind it."""
        return self.left + self.width

    @property
    def bottom(self) -> int:
        """The first row below it."""
        return self.top + self.height

    def grown(self, by: int) -> Rectangle:
        """Larger by so many pixels on each side; it may leave the image."""
        return Rectangle(self.left - by, self.top - by, self.width + 2 * by, self.height + 2 * by)

    def within(self, rows: int, columns: int) -> Rectangle | None:
        """The part of it that lies in an image of this size; None where there is none."""
        left, top = max(self.left, 0), max(self.top, 0)
        right, bottom = min(self.right, columns), min(self.bottom, rows)
        return Rectangle(left, top, right - left, bottom - top) if right > left and bottom > top else None

    def covers(self, other: Rectangle) -> bool:
        """Whether the other lies in it completely."""
        return (
            self.left <= other.left
            and self.top <= other.top
            and self.right >= other.right
            and self.bottom >= other.bottom
        )


def outside(kept: Iterable[Rectangle], rows: int, columns: int) -> tuple[Rectangle, ...]:
    """Rectangles that together are the image without `kept`; they do not overlap.

    The image is cut into bands at the upper and lower edges of what is kept, each band at its left and right edges.
    """
    inside = [part for one in kept if (part := one.within(rows, columns)) is not None]
    edges = sorted({0, rows, *(one.top for one in inside), *(one.bottom for one in inside)})
    found: list[Rectangle] = []
    for top, bottom in pairwise(edges):
        position = 0
        for one in sorted(one for one in inside if one.top <= top and one.bottom >= bottom):
            if one.left > position:
                found.append(Rectangle(position, top, one.left - position, bottom - top))
            position = max(position, one.right)
        if position < columns:
            found.append(Rectangle(position, top, columns - position, bottom - top))
    return tuple(found)
