"""Text in one picture: `rapidocr`, whose networks are in its wheel; it works without a network connection.

The picture is made small and flat first. Text is thin strokes that differ from what is just behind them, so the
background (a median over a neighbourhood larger than a stroke) is taken away: letters over bone and letters over air
look the same afterwards, and a picture of half the size is enough to find them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sluice.deid.pixels.rectangle import Rectangle

SIDE = 736  # pixels: the longer side of what the detector sees
ENLARGED = 2  # small pictures are enlarged up to so many times
BACKGROUND = 31  # pixels of the reduced picture; strokes of letters of up to some 60 pixels' height are thinner
LEAST_SCORE = 0.5  # of a reading; below it is no text
SHORT, LEAST_SHORT_SCORE = 2, 0.8  # of so few letters: ribs and tubes are read as one or two
REVISION = 1  # of what this module does to a picture


@dataclass(frozen=True)
class Reading:
    """Text that was read.

    Attributes:
        box: where it stands, in pixels of the picture that was given.
        text: what it says. It may name a patient: never log it.
        score: how sure the reader is, 0 to 1.
    """

    box: Rectangle
    text: str
    score: float


def screener() -> str:
    """Names what finds text: another name means that pictures have to be looked at again."""
    return f"rapidocr {version('rapidocr')}, {SIDE} px, {REVISION}"


def read(picture: NDArray[np.float32], threads: int = 1) -> list[Reading]:
    """Text in a picture.

    Args:
        picture: brightness, shape (rows, columns) or (rows, columns, samples), in any unit.
        threads: processor threads that the networks may use.
    """
    import cv2

    flat, scale = flattened(picture)
    found = _networks(threads)(cv2.merge([flat, flat, flat]))
    if found.txts is None:
        return []
    rows, columns = picture.shape[:2]
    readings = [
        Reading(_box(corners, scale), str(text), round(float(score), 3))
        for corners, text, score in zip(found.boxes, found.txts, found.scores, strict=True)
        if score >= (LEAST_SHORT_SCORE if len(text.strip()) <= SHORT else LEAST_SCORE) and text.strip()
    ]
    # No line of text is half as high as the picture and half as wide: that is the edge of a body, read as a letter.
    return [one for one in readings if one.box.height < rows / 2 or one.box.width < columns / 2]


def flattened(picture: NDArray[np.float32]) -> tuple[NDArray[np.uint8], float]:
    """The picture in 8 bits, its background taken away, at most `SIDE` pixels long; and how much smaller it became."""
    import cv2

    rows, columns = picture.shape[:2]
    scale = min(SIDE / max(rows, columns), ENLARGED)
    size = (max(round(columns * scale), 32), max(round(rows * scale), 32))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    planes = [picture] if picture.ndim == 2 else [picture.max(axis=2), picture.min(axis=2)]
    differences = [_difference(cv2.resize(plane, size, interpolation=method).astype(np.float32)) for plane in planes]
    strongest = differences[0]
    for other in differences[1:]:  # a colour that is bright, or one that lacks something on white
        strongest = np.where(np.abs(other) > np.abs(strongest), other, strongest)
    return np.clip(128 + 127 * strongest, 0, 255).astype(np.uint8), scale


def _difference(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """What stands before the background, -1 to 1: 1 is as bright before it as the strongest strokes are."""
    import cv2

    low, high = np.percentile(plane, (0.01, 99.99))
    if high <= low:
        return np.zeros_like(plane)
    grey = np.clip((plane - low) / (high - low), 0, 1)
    background = cv2.medianBlur((grey * 255).astype(np.uint8), BACKGROUND).astype(np.float32) / 255
    difference: NDArray[np.float32] = (grey - background).astype(np.float32)
    strong = max(float(np.percentile(np.abs(difference), 99.5)), 0.08)
    return difference / strong


def _box(corners: NDArray[np.float32], scale: float) -> Rectangle:
    left, top = np.floor(corners.min(axis=0) / scale).astype(int)
    right, bottom = np.ceil(corners.max(axis=0) / scale).astype(int)
    return Rectangle(int(left), int(top), max(int(right - left), 1), max(int(bottom - top), 1))


@lru_cache(maxsize=2)
def _networks(threads: int) -> Any:
    logging.getLogger("RapidOCR").setLevel(logging.CRITICAL)  # it tells of every picture, and on stderr
    from rapidocr import RapidOCR

    return RapidOCR(
        params={
            "Global.log_level": "critical",
            "Global.text_score": LEAST_SCORE,
            "Global.max_side_len": SIDE,
            "Det.limit_type": "max",
            "Det.limit_side_len": SIDE,
            "EngineConfig.onnxruntime.intra_op_num_threads": threads,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )
