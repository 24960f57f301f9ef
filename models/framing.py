"""The frame that every model reads: grey values of any size become a 512-pixel square, content centred, bone white.

Needs nothing of DICOM, so that training on another machine does without.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE = 512
"""Side of the canonical image, pixels."""
DETAIL_SIDE = 1024
"""Side of the detail image, pixels."""
MIN_SIDE = 32
"""A picture with a shorter side shows no body part."""

FloatImage = NDArray[np.float32]
Mask = NDArray[np.bool_]


class NotReadable(RuntimeError):  # noqa: N818 - the name the other rooms call it by
    """The file gives no canonical image.

    Attributes:
        reason_code: `pixels-unreadable` (cannot be decoded) or `pixels-unsuitable` (decodes, shows no radiograph).
        detail: what was wrong, without anything that identifies the patient.
    """

    def __init__(self, reason_code: str, detail: str) -> None:
        self.reason_code = reason_code
        self.detail = detail
        super().__init__(f"{reason_code}: {detail}")


def percentile_levels(values: FloatImage, content: FloatImage) -> FloatImage:
    """Grey levels between the 1st and 99th percentile of the content."""
    low, high = np.percentile(content.ravel()[:: max(1, content.size // 30_000)], (1, 99))
    if high <= low:
        low, high = content.min(), content.max()
    levels = (values - np.float32(low)) * np.float32(1 / (high - low))
    return np.clip(levels, 0, 1, out=levels).astype(np.float32, copy=False)


def canonical_of_values(values: FloatImage) -> NDArray[np.uint8]:
    """The canonical image of grey values without a header: percentile window, bone white.

    Raises:
        NotReadable: every pixel has the same value, or nothing is left to see.
    """
    if float(values.min()) == float(values.max()):
        raise NotReadable("pixels-unsuitable", "every pixel has the same value")
    return square(percentile_levels(values, values))


def square(grey: FloatImage) -> NDArray[np.uint8]:
    """Strip borders, pad to a square and bring to 512 x 512 by area averaging.

    Args:
        grey: grey levels in 0..1, any size.

    Returns:
        uint8, 512 x 512; the content keeps its aspect and stands in the middle, the rest is black.

    Raises:
        NotReadable: when nothing is left to see.
    """
    return fitted(strip_borders(grey))


def fitted(grey: FloatImage, side: int = SIZE) -> NDArray[np.uint8]:
    """`square` without looking for borders, on so many pixels."""
    if float(grey.max()) - float(grey.min()) < 0.02:
        raise NotReadable("pixels-unsuitable", "the picture is empty")
    rows, columns = grey.shape
    scale = side / max(rows, columns)
    height, width = max(1, round(rows * scale)), max(1, round(columns * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(np.ascontiguousarray(grey, dtype=np.float32), (width, height), interpolation=method)
    out = np.zeros((side, side), dtype=np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    out[top : top + height, left : left + width] = cv2.convertScaleAbs(resized, alpha=255)
    return out


def at_side(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A square picture on `side` x `side` pixels: their means where these are fewer, else each of them repeated."""
    if image.shape[0] == side:
        return image
    method = cv2.INTER_AREA if side < image.shape[0] else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(image, (side, side), interpolation=method), np.uint8)


def strip_borders(grey: FloatImage) -> FloatImage:
    """Cut away rows and columns at the edges that are flat black or flat white: shutters and collimation."""
    top, bottom, left, right = content_box(grey)
    return grey[top:bottom, left:right]


def content_box(grey: FloatImage) -> tuple[int, int, int, int]:
    """First row, last row plus one, first column, last column plus one within the borders."""
    dark, bright = grey <= 0.03, grey >= 0.985
    # A line is flat where all but a fiftieth of it is dark, or all but a fiftieth bright.
    rows, columns = ((dark.mean(axis) >= 0.98) | (bright.mean(axis) >= 0.98) for axis in (1, 0))
    return *_inner(rows), *_inner(columns)


def _inner(flat: Mask) -> tuple[int, int]:
    """First and last-plus-one line that is not flat; all of them when too little would be left."""
    lines = np.flatnonzero(~flat)
    if lines.size == 0 or lines[-1] + 1 - lines[0] < max(MIN_SIDE, flat.size // 5):
        return 0, flat.size
    return int(lines[0]), int(lines[-1]) + 1
