"""Which frames are looked at. The rule stands in docs/pixels.md, and each screening says what it looked at.

Of a series of slices (CT, MR, PET) one in so many instances is screened, with the first, the middle one and the last
(`sql/queries/pixels_to_screen.sql`); every other instance is screened itself. Within an instance of several frames the
first, the middle and the last are looked at, one in `FRAMES_BETWEEN`, and two pictures of all of them: the brightest
and the darkest that each pixel ever is, which hold letters of any frame that stand before a calm background.
"""

from __future__ import annotations

from collections.abc import Sequence

FRAMES_BETWEEN = 25
MOST_FRAMES = 12  # looked at in one instance
MOST_PROJECTED = 200  # frames that the projections are made of; of more, so many evenly spread
SLICES = frozenset(f"1.2.840.10008.5.1.4.1.1.{number}" for number in ("2", "4", "128"))  # one frame, many to a series
# Films: a marker on them is a piece of lead. In other pictures letters are written by a computer.
FILMS = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{number}"
    for number in ("1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1", "12.1", "12.1.1", "12.2", "12.2.1")
)


def frames_to_read(frames: int) -> list[int]:
    """Frames that are looked at by themselves, from 0."""
    step = max(FRAMES_BETWEEN, -(-frames // (MOST_FRAMES - 3)))
    return sorted({0, frames // 2, frames - 1, *range(0, frames, step)})


def frames_to_project(frames: int) -> Sequence[int]:
    """Frames that the projections are made of, from 0; none of an instance with one."""
    if frames < 2:
        return ()
    step = -(-frames // MOST_PROJECTED)
    return range(0, frames, step)
