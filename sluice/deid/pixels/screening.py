"""What was found in the pixels of an instance, and whether that is text which may tell who the patient is."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sluice.deid import gate
from sluice.deid.elements import File, MalformedError, read_file
from sluice.deid.held import Held
from sluice.deid.pixels.image import Layout, frames_of
from sluice.deid.pixels.reader import Reading, read
from sluice.deid.pixels.rectangle import Rectangle
from sluice.deid.pixels.sampling import FILMS, frames_to_project, frames_to_read

BRIGHTEST, DARKEST = -1, -2  # in place of a frame's number: the projections
WORD = re.compile(r"[^\W_]+")
MOST_LOOKS = 3  # at a picture in which there is text
LOOK_ALIKE = str.maketrans("L1", "II")  # read for each other


@dataclass(frozen=True)
class FoundText:
    """Text in a picture.

    Attributes:
        frame: from 0; `BRIGHTEST` or `DARKEST` of all frames.
        box: where, in pixels of the image.
        text: what it says; it may name a patient.
        score: 0 to 1.
        is_marker: a marker of side, view or position on a film, which tells nothing of who it is.
    """

    frame: int
    box: Rectangle
    text: str
    score: float
    is_marker: bool


@dataclass(frozen=True)
class Screened:
    """What looking at one instance brought.

    Attributes:
        frames: frames that were looked at.
        rows, columns: size of the image; boxes mean nothing in one of another size.
        failed: why the pixels could not be looked at; None where they were.
    """

    frames: tuple[int, ...]
    rows: int
    columns: int
    found: tuple[FoundText, ...]
    failed: str | None = None


@dataclass(frozen=True)
class Screening:
    """What is known of the pixels of an instance when it is released.

    Attributes:
        is_complete: all that the sampling rule asks for was looked at: the instance, or the sample of its series.
        text: where text stands that is no marker, in this instance or in one of its series of the same size.
        failed: why its pixels, or those of the sample, could not be looked at.
        region_key: what the anatomy room says of its series.
    """

    is_complete: bool = False
    text: tuple[Rectangle, ...] = ()
    failed: str | None = None
    region_key: str | None = None


def screen_file(data: bytes, threads: int = 1) -> Screened:
    """Look at the sampled frames of a DICOM file. What cannot be read is an answer, too: `failed`."""
    try:
        file = read_file(data)
        layout = Layout.of(file.elements)
        return _screen(file, layout, threads)
    except Held as held:
        return Screened((), 0, 0, (), held.detail)
    except MalformedError as error:
        return Screened((), 0, 0, (), f"cannot be read: {error}")
    except Exception as error:  # a fault of ours must hold the file, not let it pass
        return Screened((), 0, 0, (), f"fault of the reader: {type(error).__name__}")


def _screen(file: File, layout: Layout, threads: int) -> Screened:
    is_film = gate.text(file.elements.get(gate.SOP_CLASS)) in FILMS
    frames = frames_to_read(layout.frames)
    pictures = dict(zip(frames, map(_brightness, frames_of(file, frames)), strict=True))
    if projected := frames_to_project(layout.frames):
        pictures |= _projections(file, projected)
    found: list[FoundText] = []
    for frame, picture in pictures.items():
        for text in _texts(frame, picture, is_film, threads):
            if not any(known.box.covers(text.box) for known in found):
                found.append(text)
    return Screened(tuple(frames), layout.rows, layout.columns, tuple(found))


def _texts(frame: int, picture: NDArray[np.float32], is_film: bool, threads: int) -> list[FoundText]:
    """Text in one picture. Where there is some, it is made dark and the rest looked at again: a page full of it hides
    fainter lines from the reader."""
    found: list[FoundText] = []
    for _ in range(MOST_LOOKS):
        readings = [_found(frame, reading, is_film) for reading in read(picture, threads)]
        found += readings
        if all(text.is_marker for text in readings):
            break
        picture = picture.copy()
        for text in readings:
            box = text.box
            picture[max(box.top, 0) : box.bottom, max(box.left, 0) : box.right] = picture.min()
    return found


def _found(frame: int, reading: Reading, is_film: bool) -> FoundText:
    return FoundText(frame, reading.box, reading.text, reading.score, is_film and is_marker(reading.text))


def _projections(file: File, frames: Iterable[int]) -> dict[int, NDArray[np.float32]]:
    """The brightest and the darkest that each pixel is in any of the frames."""
    brightest: NDArray[np.float32] | None = None
    darkest: NDArray[np.float32] | None = None
    for frame in frames_of(file, list(frames)):
        picture = _brightness(frame)
        brightest = picture if brightest is None else np.maximum(brightest, picture)
        darkest = picture if darkest is None else np.minimum(darkest, picture)
    if brightest is None or darkest is None:
        return {}
    return {BRIGHTEST: brightest, DARKEST: darkest}


def _brightness(frame: NDArray[np.generic]) -> NDArray[np.float32]:
    """A frame, shape (rows, columns, samples), as the reader takes it."""
    picture = frame.astype(np.float32)
    return picture[..., 0] if picture.shape[-1] == 1 else picture


def is_marker(text: str) -> bool:
    """Whether each word of a text is one of the reviewed words for side, view and position (`markers.csv`)."""
    words = WORD.findall(text.upper())
    return bool(words) and all(word.translate(LOOK_ALIKE) in _markers() for word in words)


@cache
def _markers() -> frozenset[str]:
    with Path(__file__).with_name("markers.csv").open(newline="", encoding="utf-8") as file:
        return frozenset(row["word"].translate(LOOK_ALIKE) for row in csv.DictReader(file))
