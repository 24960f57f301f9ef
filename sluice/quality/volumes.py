"""Whether the slices of a series make a volume: one orientation, even distances, none missing.

Positions along the normal are Image Position (Patient) (0020,0032) projected on the cross product of the row and
column cosines of Image Orientation (Patient) (0020,0037), as in PS3.3, C.7.6.2.1.1. Enhanced multi-frame objects hold
their positions in functional groups and are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

Vector = tuple[float, ...]

SAME_MM = 0.01  # positions closer than this are one: several phases, echoes or weightings of one slice
OFF = 0.1  # a distance further from the median than this share of it is uneven
A_HOLE = 1.5  # a distance above so many medians leaves slices out
FEWEST = 4  # positions below this say nothing


@dataclass(slots=True)
class Slices:
    """What the instances of one series say of their place, gathered one by one."""

    positions: list[Vector] = field(default_factory=list)
    orientations: dict[Vector, Vector] = field(default_factory=dict)  # rounded -> as first seen
    frames_of_reference: set[str] = field(default_factory=set)
    localizer: bool = False

    def add(self, position: Vector | None, orientation: Vector | None, frame_of_reference: str | None) -> None:
        """One instance. Position in mm, orientation six direction cosines."""
        if frame_of_reference:
            self.frames_of_reference.add(frame_of_reference)
        if position is None or orientation is None:
            return
        self.positions.append(position)
        self.orientations.setdefault(tuple(round(part, 2) + 0.0 for part in orientation), orientation)

    def columns(self) -> dict[str, float | bool | None]:
        """The columns of level series that geometry gives."""
        found: dict[str, float | bool | None] = {
            "is_localizer": self.localizer,
            "orientations": len(self.orientations) or None,
            "frames_of_reference": len(self.frames_of_reference) or None,
            "slices": None,
            "slice_distance_mm": None,
            "slices_missing": None,
            "slice_distance_varies": None,
        }
        if len(self.orientations) == 1 and not self.localizer:
            found |= distances(self.positions, next(iter(self.orientations.values())))
        return found


def distances(positions: Sequence[Vector], orientation: Vector) -> dict[str, float | bool | None]:
    """Slices, median distance in mm, missing slices and share of uneven distances of a stack."""
    normal = _normal(orientation)
    along = sorted(sum(p * n for p, n in zip(position, normal, strict=True)) for position in positions)
    gaps = [after - before for before, after in pairwise(along) if after - before > SAME_MM]
    if len(gaps) + 1 < FEWEST:
        return {"slices": len(gaps) + 1}
    middle = median(gaps)
    holes = [gap for gap in gaps if gap > A_HOLE * middle]
    whole = [hole for hole in holes if abs(hole / middle - round(hole / middle)) < OFF * 2]
    uneven = [gap for gap in gaps if gap not in whole and abs(gap - middle) > max(OFF * middle, SAME_MM)]
    return {
        "slices": len(gaps) + 1,
        "slice_distance_mm": middle,
        "slices_missing": sum(round(hole / middle) - 1 for hole in whole),
        "slice_distance_varies": len(uneven) / len(gaps),
    }


def _normal(orientation: Vector) -> Vector:
    a, b, c, d, e, f = orientation
    return (b * f - c * e, c * d - a * f, a * e - b * d)
