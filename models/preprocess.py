"""The one decode: a DICOM radiograph becomes a 512-pixel 8-bit canonical image, or a reason why not.

Order of the grey-scale pipeline: Modality LUT (PS3.3 C.11.1), VOI LUT or window (C.11.2), inversion of
MONOCHROME1 (C.7.6.3.1.2), pixel padding to black (C.7.5.1.1.2). Stored values are averaged down by a whole factor
first, so that a 60-megapixel film never exists as floating point in full size.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels import pixel_array

from models.decode_apart import DECODER, DecodeFailed
from models.framing import MIN_SIDE, FloatImage, Mask, NotReadable, percentile_levels, square

WORKING_SIDE = 1024
"""Stored values are averaged down to about this longest side before anything else, pixels."""
MAX_PIXELS = 150_000_000
MAX_BYTES = 1 << 30  # of a file, which is read whole; the largest radiograph of `MAX_PIXELS` has a third of it
"""A frame with more pixels is refused before it is decoded."""
# pydicom warns about odd values by quoting them, and a quoted value may identify a patient. Set here once, for
# `warnings.catch_warnings` is not safe between the threads that decode.
warnings.filterwarnings("ignore", module=r"pydicom\b.*")

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@dataclass(frozen=True)
class Canonical:
    """A radiograph as every model reads it.

    Attributes:
        image: uint8, 512 x 512, bone white, content centred, padding black.
        source_rows, source_columns: size of the stored frame, pixels.
        patient_age_years: from Patient's Age, else from birth and study date; None when unknown.
        windowing: `voi-lut`, `window` or `percentile`: what set the grey levels.
    """

    image: NDArray[np.uint8]
    source_rows: int
    source_columns: int
    patient_age_years: float | None
    windowing: str


def canonical(path: Path) -> Canonical:
    """Decode the first frame of a DICOM file to its canonical image.

    Raises:
        NotReadable: with `pixels-unreadable` or `pixels-unsuitable` and what was wrong.
    """
    dataset = _read(path)
    rows, columns = _refuse_unsuitable(dataset)
    stored = _decode(dataset, path)
    values, padding = _averaged(stored, _padding_mask(dataset, stored))
    grey, windowing = _grey_levels(dataset, values, padding)
    if _text(dataset, "PhotometricInterpretation") == "MONOCHROME1":
        grey = 1.0 - grey
    grey = np.where(padding, np.float32(0), grey)
    return Canonical(square(grey), rows, columns, patient_age_years(dataset), windowing)


def _read(path: Path) -> Dataset:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise NotReadable("pixels-unsuitable", f"the file has {size} bytes, more than {MAX_BYTES}: no radiograph")
        return dcmread(path)
    except NotReadable:
        raise
    except FileNotFoundError:
        raise NotReadable("pixels-unreadable", "the file is gone from the archive") from None
    except Exception as error:
        # A damaged header can fail in many ways inside the parser; each means the same to the caller.
        raise NotReadable("pixels-unreadable", f"not a readable DICOM file ({type(error).__name__})") from None


def _refuse_unsuitable(dataset: Dataset) -> tuple[int, int]:
    """Rows and columns, after refusing what the header already shows to be no radiograph."""
    if not any(keyword in dataset for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise NotReadable("pixels-unsuitable", "the object holds no pixel data")
    rows, columns = _number(dataset, "Rows"), _number(dataset, "Columns")
    if rows is None or columns is None or min(rows, columns) < MIN_SIDE:
        raise NotReadable(
            "pixels-unsuitable", f"the frame is {rows} x {columns} pixels; at least {MIN_SIDE} are needed"
        )
    if rows * columns > MAX_PIXELS:
        raise NotReadable("pixels-unsuitable", f"the frame has {rows * columns:.0f} pixels, more than {MAX_PIXELS}")
    if (_number(dataset, "SamplesPerPixel") or 1) != 1 or not _text(dataset, "PhotometricInterpretation").startswith(
        "MONOCHROME"
    ):
        raise NotReadable("pixels-unsuitable", "a colour image")
    if _text(dataset, "SOPClassUID").startswith(SECONDARY_CAPTURE):
        raise NotReadable("pixels-unsuitable", "a secondary capture")
    return int(rows), int(columns)


def _decode(dataset: Dataset, path: Path) -> NDArray[Any]:
    """Stored values of the first frame, whichever installed plugin reads its transfer syntax."""
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    name = getattr(syntax, "name", "unknown transfer syntax")
    try:
        if syntax is None or syntax.is_private or syntax.is_encapsulated:
            frame = DECODER.first_frame(path)
        else:
            frame = pixel_array(dataset, index=0, raw=True)
    except DecodeFailed as error:
        raise NotReadable("pixels-unreadable", f"{name}: {error}") from None
    except Exception as error:
        # Lengths and attributes that contradict each other fail in many ways.
        raise NotReadable("pixels-unreadable", f"{name}: cannot be decoded ({type(error).__name__})") from None
    if frame.ndim != 2:
        raise NotReadable("pixels-unsuitable", f"the frame has {frame.ndim} dimensions instead of 2")
    return frame


def _padding_mask(dataset: Dataset, stored: NDArray[Any]) -> Mask | None:
    first = _number(dataset, "PixelPaddingValue")
    if first is None:
        return None
    last = _number(dataset, "PixelPaddingRangeLimit")
    low, high = sorted((first, first if last is None else last))
    mask: Mask = (stored >= low) & (stored <= high)
    # Some devices name a value as padding that also lies inside the body; then it is no padding.
    return mask if mask.any() and mask.mean() < 0.9 else None


def _averaged(stored: NDArray[Any], padding: Mask | None) -> tuple[FloatImage, Mask]:
    """Block means of the stored values outside the padding, and where there is nothing but padding."""
    not_a_number = ~np.isfinite(stored) if stored.dtype.kind == "f" else None
    if not_a_number is not None and not_a_number.any():
        padding = not_a_number if padding is None else padding | not_a_number
    factor = max(1, max(stored.shape) // WORKING_SIDE)
    factor = min(factor, max(1, min(stored.shape) // MIN_SIDE))
    if padding is None:
        values = _block_mean(stored, factor)
        return values, np.zeros(values.shape, dtype=bool)
    kept = _block_mean(~padding, factor)
    total = _block_mean(np.where(padding, stored.dtype.type(0), stored), factor)
    empty = kept == 0
    return np.divide(total, kept, out=np.zeros_like(total), where=~empty), empty


def _block_mean(array: NDArray[Any], factor: int) -> FloatImage:
    """Mean over factor x factor blocks; a remainder at the far edges is dropped."""
    if factor == 1:
        return array.astype(np.float32)
    rows, columns = array.shape[0] // factor, array.shape[1] // factor
    total = np.zeros((rows, columns), dtype=np.float32)
    for i in range(factor):
        for j in range(factor):
            total += array[i : rows * factor : factor, j : columns * factor : factor]
    return total / np.float32(factor * factor)


def _grey_levels(dataset: Dataset, values: FloatImage, padding: Mask) -> tuple[FloatImage, str]:
    """Grey levels in 0..1: Modality LUT, then VOI LUT, window or percentiles."""
    values = _modality(dataset, values)
    padding |= ~np.isfinite(values)
    content = values[~padding]
    if content.size < MIN_SIDE * MIN_SIDE:
        raise NotReadable("pixels-unsuitable", "nothing but padding or undefined values")
    if float(content.min()) == float(content.max()):
        raise NotReadable("pixels-unsuitable", "every pixel has the same value")
    values = np.where(padding, content.min(), values).astype(np.float32)
    for name, levels in (("voi-lut", _voi_lut(dataset, values)), ("window", _window(dataset, values))):
        if levels is not None and _shows_something(levels[~padding]):
            return levels, name
    return percentile_levels(values, content), "percentile"


def _modality(dataset: Dataset, values: FloatImage) -> FloatImage:
    table = _lut(dataset, "ModalityLUTSequence")
    if table is not None:
        return _look_up(table, values)
    slope, intercept = _number(dataset, "RescaleSlope"), _number(dataset, "RescaleIntercept")
    if slope is None or slope == 0:
        slope = 1.0
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
    centre, width = _number(dataset, "WindowCenter"), _number(dataset, "WindowWidth")
    if centre is None or width is None or width < 1:
        return None
    function = _text(dataset, "VOILUTFunction") or "LINEAR"
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
    text = _text(dataset, "PatientAge")
    if len(text) == 4 and text[:3].isdigit() and text[3] in "DWMY":
        age = int(text[:3]) * {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}[text[3]]
        # '000Y' is what devices write when nobody typed an age.
        if age > 0 and age < 130:
            return age
    born, studied = (_date(_text(dataset, keyword)) for keyword in ("PatientBirthDate", "StudyDate"))
    if born is None or studied is None:
        return None
    years = (studied - born).days / 365.25
    return years if 0 <= years < 130 else None


def _date(text: str) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return None


def _text(dataset: Dataset, keyword: str) -> str:
    try:
        return str(dataset.get(keyword) or "").strip()
    except Exception:
        # A value that its VR cannot hold raises on access; it is then as good as absent.
        return ""


def _number(dataset: Dataset, keyword: str) -> float | None:
    """First finite number of an element, None when absent or malformed."""
    try:
        value = dataset.get(keyword)
        if value is not None and not isinstance(value, (str, int, float)):
            value = value[0] if len(value) else None
        number = float(value)  # type: ignore[arg-type]
    except Exception:
        return None
    return number if math.isfinite(number) else None
