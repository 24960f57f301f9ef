"""The one decode: a DICOM radiograph becomes a 512-pixel 8-bit canonical image, or a reason why not.

Order of the grey-scale pipeline: Modality LUT (PS3.3 C.11.1), VOI LUT or window (C.11.2), inversion of
MONOCHROME1 (C.7.6.3.1.2), pixel padding to black (C.7.5.1.1.2). Stored values are averaged down by a whole factor
first, so that a 60-megapixel film never exists as floating point in full size, and what is looked at has 512 to 1,023
pixels on its longer side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models.frames import FirstFrame, Values
from models.framing import (
    DETAIL_SIDE,
    MIN_SIDE,
    SIZE,
    FloatImage,
    Mask,
    NotReadable,
    content_box,
    fitted,
    percentile_levels,
)

RECIPE = 2
"""Version of everything that decides how a canonical image looks; with another one, pictures are made anew."""
DETAIL_SUFFICES = 922
"""Pixels of a film's content, along its longer side, that are enough for a detail image: the last tenth of 1,024 is not
worth that more than twice as many values, or four times as many of JPEG 2000, are decoded."""
MAX_PIXELS = 150_000_000
"""A frame with more pixels is refused before it is decoded."""

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_AVERAGED_BY_CV2 = ("u1", "u2", "i2", "f4")


@dataclass(frozen=True)
class Canonical:
    """A radiograph as every model reads it.

    Attributes:
        image: uint8, 512 x 512, bone white, content centred, padding black.
        source_rows, source_columns: size of the stored frame, pixels.
        crop: what of the frame is shown: first row, first column, rows, columns, pixels of the frame. Its longer side
            fills the 512 pixels, its shorter one stands in their middle.
        patient_age_years: from Patient's Age, else from birth and study date; None when unknown.
        windowing: `voi-lut`, `window` or `percentile`: what set the grey levels.
        detail: the same part of the frame on 1,024 x 1,024 pixels; None where it was not asked for, or where that part
            has fewer pixels and there is no more to show.
    """

    image: NDArray[np.uint8]
    source_rows: int
    source_columns: int
    crop: tuple[int, int, int, int]
    patient_age_years: float | None
    windowing: str
    detail: NDArray[np.uint8] | None = None


def canonical(path: Path, detail: bool = False) -> Canonical:
    """Decode the first frame of a DICOM file to its canonical image, in this process.

    The canonical image is the same whether or not the detail image is asked for: where a transfer syntax has levels of
    resolution, another one is decoded for that; where it has none, one decode serves both.

    The C libraries behind the compressed syntaxes can end the process on damaged bytes: `models.decode_workers` does
    the same in others, which may.

    Raises:
        NotReadable: with `pixels-unreadable` or `pixels-unsuitable` and what was wrong.
    """
    with FirstFrame(path) as frame:
        header = frame.header
        rows, columns = _refuse_unsuitable(frame)
        look = _look(header, frame.values(SIZE), SIZE)
        longest = max(look.box[1] - look.box[0], look.box[3] - look.box[2])
        if longest < SIZE and look.coarser > 1:
            # Much was cut away: once more, so that what is left has all the pixels that the frame has of it.
            side = math.ceil(max(look.grey.shape) * SIZE / longest)
            look = _look(header, frame.values(side), side)
        top, bottom, left, right = look.box
        step = look.coarser
        crop = (top * step, left * step, min((bottom - top) * step, rows), min((right - left) * step, columns))
        image = fitted(look.grey[top:bottom, left:right])
        finer = _detail(frame, crop) if detail and max(crop[2:]) >= DETAIL_SIDE else None
        return Canonical(image, rows, columns, crop, patient_age_years(header), look.windowing, finer)


def _detail(frame: FirstFrame, crop: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """What a canonical image shows of a frame, on more pixels."""
    rows, columns = int(frame.header.Rows), int(frame.header.Columns)
    side = math.ceil(max(rows, columns) * DETAIL_SUFFICES / max(crop[2:]))
    grey, coarser, _ = _reduced(frame.header, frame.values(side), side)
    top, left, high, wide = (round(value / coarser) for value in crop)
    return fitted(grey[top : top + high, left : left + wide], DETAIL_SIDE)


@dataclass(frozen=True)
class _Look:
    """Grey levels in 0..1 of a whole frame, `coarser` pixels of it in one; `box` lies within the borders."""

    grey: FloatImage
    box: tuple[int, int, int, int]
    coarser: int
    windowing: str


def _look(header: Dataset, stored: Values, side: int) -> _Look:
    grey, coarser, windowing = _reduced(header, stored, side)
    return _Look(grey, content_box(grey), coarser, windowing)


def _reduced(header: Dataset, stored: Values, side: int) -> tuple[FloatImage, int, str]:
    """Grey levels of a whole frame on `side` pixels and more, how many of the frame's are in one, what set them."""
    factor = max(1, min(max(stored.array.shape) // side, min(stored.array.shape) // MIN_SIDE))
    array, block = _fewer_rows(stored.array, factor)
    values, padding = _averaged(array, _padding_mask(header, array), block)
    grey, windowing, padding = _grey_levels(header, values, padding)
    if text_of(header, "PhotometricInterpretation") == "MONOCHROME1":
        grey = np.float32(1) - grey
    if padding is not None:
        grey = np.where(padding, np.float32(0), grey)
    return grey, factor * stored.reduced, windowing


def _refuse_unsuitable(frame: FirstFrame) -> tuple[int, int]:
    """Rows and columns, after refusing what the header already shows to be no radiograph."""
    dataset = frame.header
    if not frame.has_pixels:
        raise NotReadable("pixels-unsuitable", "the object holds no pixel data")
    rows, columns = number_of(dataset, "Rows"), number_of(dataset, "Columns")
    if rows is None or columns is None or min(rows, columns) < MIN_SIDE:
        raise NotReadable(
            "pixels-unsuitable", f"the frame is {rows} x {columns} pixels; at least {MIN_SIDE} are needed"
        )
    if rows * columns > MAX_PIXELS:
        raise NotReadable("pixels-unsuitable", f"the frame has {rows * columns:.0f} pixels, more than {MAX_PIXELS}")
    if (number_of(dataset, "SamplesPerPixel") or 1) != 1 or not text_of(
        dataset, "PhotometricInterpretation"
    ).startswith("MONOCHROME"):
        raise NotReadable("pixels-unsuitable", "a colour image")
    if text_of(dataset, "SOPClassUID").startswith(SECONDARY_CAPTURE):
        raise NotReadable("pixels-unsuitable", "a secondary capture")
    return int(rows), int(columns)


def _padding_mask(dataset: Dataset, stored: NDArray[Any]) -> Mask | None:
    first = number_of(dataset, "PixelPaddingValue")
    if first is None:
        return None
    last = number_of(dataset, "PixelPaddingRangeLimit")
    low, high = sorted((first, first if last is None else last))
    mask: Mask = stored == low if low == high else (stored >= low) & (stored <= high)
    # Some devices name a value as padding that also lies inside the body; then it is no padding.
    return mask if mask.any() and mask.mean() < 0.9 else None


def _fewer_rows(stored: NDArray[Any], factor: int) -> tuple[NDArray[Any], tuple[int, int]]:
    """The rows that block means are taken of, and rows and columns of such a block.

    Of blocks of four rows and more two are looked at: memory is what limits a decode in place, and the twelve values
    of two rows of six say what the thirty-six do, up to a noise of a fraction of a grey level.
    """
    if factor < 4:
        return stored, (factor, factor)
    first = np.arange(stored.shape[0] // factor)[:, None] * factor
    within = np.array([factor // 4, factor - 1 - factor // 4])
    chosen = (first + within).ravel()
    return stored[chosen], (2, factor)


def _averaged(stored: NDArray[Any], padding: Mask | None, block: tuple[int, int]) -> tuple[FloatImage, Mask | None]:
    """Block means of the stored values outside the padding, and where there is nothing but padding."""
    not_a_number = ~np.isfinite(stored) if stored.dtype.kind == "f" else None
    if not_a_number is not None and not_a_number.any():
        padding = not_a_number if padding is None else padding | not_a_number
    if padding is None:
        return _block_mean(stored, block), None
    kept = _block_mean((~padding).astype(np.float32), block)
    total = _block_mean(np.where(padding, stored.dtype.type(0), stored), block)
    empty = kept == 0
    return np.divide(total, kept, out=np.zeros_like(total), where=~empty), empty


def _block_mean(array: NDArray[Any], block: tuple[int, int]) -> FloatImage:
    """Mean over blocks of so many rows and columns; a remainder at the far edges is dropped."""
    if block == (1, 1):
        return array.astype(np.float32)
    down, across = block
    rows, columns = array.shape[0] // down, array.shape[1] // across
    whole = array[: rows * down, : columns * across]
    if array.dtype.str[1:] in _AVERAGED_BY_CV2 and array.dtype.isnative:
        return cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32)
    total = np.zeros((rows, columns), dtype=np.float32)
    for i in range(down):
        for j in range(across):
            total += whole[i::down, j::across]
    return total / np.float32(down * across)


def _grey_levels(dataset: Dataset, values: FloatImage, padding: Mask | None) -> tuple[FloatImage, str, Mask | None]:
    """Grey levels in 0..1 by Modality LUT, then VOI LUT, window or percentiles; what set them; what is padding."""
    values = _modality(dataset, values)
    finite = np.isfinite(values)
    if not finite.all():
        padding = ~finite if padding is None else padding | ~finite
    content = values.ravel() if padding is None else values[~padding]
    if content.size < MIN_SIDE * MIN_SIDE:
        raise NotReadable("pixels-unsuitable", "nothing but padding or undefined values")
    least = content.min()
    if float(least) == float(content.max()):
        raise NotReadable("pixels-unsuitable", "every pixel has the same value")
    if padding is not None:
        values = np.where(padding, least, values).astype(np.float32)
    for name, levels in (("voi-lut", _voi_lut(dataset, values)), ("window", _window(dataset, values))):
        if levels is not None and _shows_something(levels if padding is None else levels[~padding]):
            return levels, name, padding
    return percentile_levels(values, content), "percentile", padding


def _modality(dataset: Dataset, values: FloatImage) -> FloatImage:
    table = _lut(dataset, "ModalityLUTSequence")
    if table is not None:
        return _look_up(table, values)
    slope, intercept = number_of(dataset, "RescaleSlope"), number_of(dataset, "RescaleIntercept")
    if slope is None or slope == 0:
        slope = 1.0
    if slope == 1.0 and not intercept:
        return values
    return values * np.float32(slope) + np.float32(intercept or 0.0)


def _voi_lut(dataset: Dataset, values: FloatImage) -> FloatImage | None:
    table = _lut(dataset, "VOILUTSequence")
    if table is None:
        return None
    levels = _look_up(table, values)
    top = float(table[1].max())
    return None if top <= 0 else np.clip(levels / top, 0, 1).astype(np.float32)


def _window(dataset: Dataset, values: FloatImage) -> FloatImage | None:
    """Window centre and width by the function the header names (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    centre, width = number_of(dataset, "WindowCenter"), number_of(dataset, "WindowWidth")
    if centre is None or width is None or width < 1:
        return None
    function = text_of(dataset, "VOILUTFunction") or "LINEAR"
    if function == "SIGMOID":
        return (1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -60, 60)))).astype(np.float32)
    if function == "LINEAR" and width > 1:
        centre, width = centre - 0.5, width - 1
    return np.clip((values - centre) / width + 0.5, 0, 1).astype(np.float32)


def _shows_something(levels: FloatImage) -> bool:
    """Whether a header's window leaves a picture: wrong windows burn nearly all pixels to black or white."""
    burnt = float(((levels <= 0.001) | (levels >= 0.999)).mean())
    return burnt < 0.8 and float(levels.std()) > 0.02


def _lut(dataset: Dataset, keyword: str) -> tuple[float, NDArray[np.float32]] | None:
    """First stored value mapped and the table of a LUT sequence's first item; None when absent or unusable."""
    try:
        item = dataset[keyword].value[0]
        entries, first, bits = (int(v) for v in item.LUTDescriptor)
        data = item.LUTData
        if isinstance(data, bytes):
            data = np.frombuffer(data, dtype="<u2" if len(data) >= 2 * (entries or 65536) else "u1")
        table = np.asarray(data, dtype=np.float32)
        if bits < 8 or table.size < 2:
            return None
        return float(first), table
    except (KeyError, IndexError, AttributeError, TypeError, ValueError):
        return None


def _look_up(table: tuple[float, NDArray[np.float32]], values: FloatImage) -> FloatImage:
    first, entries = table
    index = np.clip(np.nan_to_num(values) - first, 0, entries.size - 1).round().astype(np.int64)
    return entries[index]


def patient_age_years(dataset: Dataset) -> float | None:
    """Age at the study in years, from Patient's Age (VR AS), else from the dates; None when unknown or absurd."""
    text = text_of(dataset, "PatientAge")
    if len(text) == 4 and text[:3].isdigit() and text[3] in "DWMY":
        age = int(text[:3]) * {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}[text[3]]
        # '000Y' is what devices write when nobody typed an age.
        if age > 0 and age < 130:
            return age
    born, studied = (_date(text_of(dataset, keyword)) for keyword in ("PatientBirthDate", "StudyDate"))
    if born is None or studied is None:
        return None
    years = (studied - born).days / 365.25
    return years if 0 <= years < 130 else None


def _date(text: str) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return None


def text_of(dataset: Dataset, keyword: str) -> str:
    """An element as text without blanks at its ends; empty when absent or malformed."""
    try:
        return str(dataset.get(keyword) or "").strip()
    except Exception:
        # A value that its VR cannot hold raises on access; it is then as good as absent.
        return ""


def number_of(dataset: Dataset, keyword: str) -> float | None:
    """First finite number of an element, None when absent or malformed."""
    try:
        value = dataset.get(keyword)
        if value is not None and not isinstance(value, (str, int, float)):
            value = value[0] if len(value) else None
        number = float(value)  # type: ignore[arg-type]
    except Exception:
        return None
    return number if math.isfinite(number) else None
