"""Whether the slices of a series make a volume: one orientation, even distances, none missing.

Positions along the normal are Image Position (Patient) (0020,0032) projected on the cross product of the row and
column cosines of Image Orientation (Patient) (0020,0037), as in PS3.3, C.7.6.2.1.1. Frames of an enhanced object hold
both in functional groups, each frame its own or one for all (PS3.3 C.7.6.16.2.3, C.7.6.16.2.4), and say which stack
they belong to (C.7.6.16.2.2): a stack is a volume by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

from sluice.headers.paths import ElementPath
from sluice.quality.elements import Element, numbers, values

Vector = tuple[float, ...]

SAME_MM = 0.01  # positions closer than this are one: several phases, echoes or weightings of one slice
OFF = 0.1  # a distance further from the median than this share of it is uneven
A_HOLE = 1.5  # a distance above so many medians leaves slices out
FEWEST = 4  # positions below this say nothing
POSITION, ORIENTATION, FRAME_OF_REFERENCE = map(
    ElementPath.of, ("ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID")
)
SHARED_GROUPS, FRAME_GROUPS = map(
    ElementPath.of, ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
)
FRAME_POSITION = ElementPath.of("PlanePositionSequence/ImagePositionPatient")
FRAME_ORIENTATION = ElementPath.of("PlaneOrientationSequence/ImageOrientationPatient")
STACK = ElementPath.of("FrameContentSequence/StackID")
PATHS = (POSITION, ORIENTATION, FRAME_OF_REFERENCE, SHARED_GROUPS, FRAME_GROUPS)


class Place(NamedTuple):
    """Where an image or a frame lies: position in mm, six direction cosines, and the stack that it names."""

    position: Vector | None
    orientation: Vector | None
    stack: str = ""


def places(elements: Mapping[str, Element]) -> Iterator[Place]:
    """Where an instance lies, by its header in DICOM JSON; of an enhanced object each frame."""
    frames = values(elements, FRAME_GROUPS)
    if not frames:
        yield Place(numbers(values(elements, POSITION), 3), numbers(values(elements, ORIENTATION), 6))
        return
    shared = _group(values(elements, SHARED_GROUPS))
    for frame in map(_group, ([one] for one in frames)):
        stack = _either(frame, shared, STACK)
        yield Place(
            numbers(_either(frame, shared, FRAME_POSITION), 3),
            numbers(_either(frame, shared, FRAME_ORIENTATION), 6),
            str(stack[0]) if stack else "",
        )


def _group(items: Sequence[Any] | None) -> Mapping[str, Element]:
    return items[0] if items and isinstance(items[0], dict) else {}


def _either(frame: Mapping[str, Element], shared: Mapping[str, Element], path: ElementPath) -> list[Any] | None:
    return values(frame, path) or values(shared, path)


@dataclass(slots=True)
class _Stack:
    positions: list[Vector] = field(default_factory=list)
    orientations: dict[Vector, Vector] = field(default_factory=dict)  # rounded -> as first seen


@dataclass(slots=True)
class Slices:
    """What the instances of one series say of their place, gathered one by one."""

    stacks: dict[str, _Stack] = field(default_factory=dict)
    frames_of_reference: set[str] = field(default_factory=set)
    localizer: bool = False

    def add(self, elements: Mapping[str, Element]) -> None:
        """One instance, by its header in DICOM JSON."""
        named = values(elements, FRAME_OF_REFERENCE)
        if named and named[0]:
            self.frames_of_reference.add(str(named[0]))
        for position, orientation, stack in places(elements):
            if position is not None and orientation is not None:
                of_stack = self.stacks.setdefault(stack, _Stack())
                of_stack.positions.append(position)
                of_stack.orientations.setdefault(tuple(round(part, 2) + 0.0 for part in orientation), orientation)

    def columns(self) -> dict[str, float | bool | None]:
        """The columns of level series that geometry gives; of several stacks slices are summed, the worst is shown."""
        found: dict[str, float | bool | None] = {
            "is_localizer": self.localizer,
            "orientations": max((len(stack.orientations) for stack in self.stacks.values()), default=0) or None,
            "frames_of_reference": len(self.frames_of_reference) or None,
            "slices": None,
            "slice_distance_mm": None,
            "slices_missing": None,
            "slice_distance_varies": None,
        }
        if found["orientations"] == 1 and not self.localizer:
            each = [
                distances(stack.positions, next(iter(stack.orientations.values()))) for stack in self.stacks.values()
            ]
            for name, joined in (
                ("slices", sum), ("slice_distance_mm", max), ("slices_missing", sum), ("slice_distance_varies", max),
            ):  # fmt: skip
                known = [value for one in each if (value := one.get(name)) is not None]
                found[name] = joined(known) if known else None
        return found


def distances(positions: Sequence[Vector], orientation: Vector) -> dict[str, float]:
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
