"""PNG of released images: 16 bits of grey, or 8 bits of each colour; one file a frame. docs/releases.md says the why.

- **values** (CT, PT, NM, MR and whatever says its units): stored pixel values, made unsigned. What the modality
  measured (Modality LUT, PS3.3 C.11.1) is `slope × PNG value + intercept`, exactly; both go along. No window: it would
  cut.
- **display** (CR, DX, MG, XA, RF, IO …): Modality LUT, then VOI LUT or window (C.11.2; the first there is, a LUT
  before a window), over the whole range of 16 bits; MONOCHROME1 turned round, so that more is brighter; padding is
  black.
- **colour**: RGB of 8 bits; YBR and palettes are converted.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi, apply_windowing
from pydicom.pixels.utils import iter_pixels

from sluice.release.formats.made import Made, NotMade

RECIPE = "png/1"
COMPRESSION = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB)
BEHIND_HEADER = 33  # bytes: the signature and IHDR, PNG (third edition) 5.2 and 11.2.1
FULL = 65_535
MEASURED = ("CT", "PT", "NM", "MR")
UNITS = {"CT": "HU"}
Grey = NDArray[np.uint16]


def pictures(data: bytes, path: str, about: dict[str, Any]) -> list[Made]:
    """One PNG for each frame of a DICOM file.

    Args:
        data: the de-identified file.
        path: of the picture in the version's folder, without its ending; frames of several go into a folder of that
            name.
        about: identities, for the table `images`.

    Raises:
        NotMade: `pixels-unreadable`, or `not-16-bit` where values do not fit.
    """
    dataset = pydicom.dcmread(io.BytesIO(data))
    count = int(dataset.get("NumberOfFrames") or 1)
    made = []
    for number, (frame, own) in enumerate(zip(_frames(dataset), _of_frames(dataset, count), strict=True), start=1):
        picture, said = _picture(frame, own)
        spaced = _spacing(own)
        said |= {name: spaced[name] for name in spaced}
        name = f"{path}.png" if count == 1 else f"{path}/{number:05}.png"
        body = _encoded(picture, said)
        height, width = picture.shape[:2]
        size = {"frame": number, "rows": height, "columns": width, "bits": 16 if picture.dtype == np.uint16 else 8}
        made.append(Made(name, body, "image/png", about | size | said))
    return made


def _frames(dataset: Dataset) -> Iterator[NDArray[Any]]:
    if "PixelData" not in dataset:
        if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
            raise NotMade("not-16-bit", "no integer pixel data")
        if "Rows" not in dataset:  # a report, or what says how to show a picture
            raise NotMade("no-pixels", "it is no image")
        raise NotMade("pixels-unreadable", "no integer pixel data")
    try:
        # raw=False gives RGB for YBR; palettes and grey stay as stored
        yield from iter_pixels(dataset, raw=False)
    except NotMade:
        raise
    except Exception as error:
        raise NotMade("pixels-unreadable", f"cannot be decoded: {type(error).__name__}") from error


def _of_frames(dataset: Dataset, count: int) -> Iterator[Dataset]:
    """For each frame what is said of its pixels: of enhanced objects by its functional groups (PS3.3 C.7.6.16)."""
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    each = dataset.get("PerFrameFunctionalGroupsSequence") or []
    for number in range(count):
        own = Dataset()
        own.file_meta = dataset.file_meta  # tables of words are read in the order of bytes that it names
        for name in OF_PIXELS:
            if name in dataset:
                own[name] = dataset[name]
        for groups in (shared, each[number] if number < len(each) else Dataset()):
            for sequence in ("PixelMeasuresSequence", "PixelValueTransformationSequence", "FrameVOILUTSequence"):
                for item in groups.get(sequence) or ():
                    own.update(item)
        yield own


OF_PIXELS = (
    "Modality", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel",
    "PhotometricInterpretation", "RescaleSlope", "RescaleIntercept", "RescaleType", "Units", "ModalityLUTSequence",
    "VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction", "PixelPaddingValue", "PixelPaddingRangeLimit",
    "PresentationLUTShape", "PixelSpacing", "ImagerPixelSpacing", "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
    "AlphaPaletteColorLookupTableDescriptor", "AlphaPaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData", "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData",
)  # fmt: skip


def _picture(frame: NDArray[Any], own: Dataset) -> tuple[NDArray[Any], dict[str, Any]]:
    said: dict[str, Any] = {"slope": None, "intercept": None, "units": None, "window": None, "inverted": False}
    photometric = str(own.get("PhotometricInterpretation") or "")
    if photometric == "PALETTE COLOR":
        return _eight_bits(apply_color_lut(frame, own)[..., :3]), said | {"meaning": "colour"}
    if frame.ndim == 3:
        return _eight_bits(frame), said | {"meaning": "colour"}
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise NotMade("pixels-unreadable", "neither grey nor colour")
    if int(own.BitsStored) > 16:
        raise NotMade("not-16-bit", "more than 16 bits a pixel")
    if _is_measured(own):
        return _values(frame, own, said)
    return _display(frame, own, photometric == "MONOCHROME1", said)


def _is_measured(own: Dataset) -> bool:
    if own.get("ModalityLUTSequence"):
        return False
    return own.get("Modality") in MEASURED or str(own.get("RescaleType") or "US") not in ("US", "")


def _values(frame: NDArray[Any], own: Dataset, said: dict[str, Any]) -> tuple[Grey, dict[str, Any]]:
    """Stored values, shifted by what is the least that their bits can hold: the same for all slices of a series."""
    least = -(1 << (int(own.BitsStored) - 1)) if int(own.PixelRepresentation) else 0
    stored = frame.astype(np.int32) - least
    if stored.min() < 0 or stored.max() > FULL:
        raise NotMade("not-16-bit", "values beyond the bits that are said to be stored")
    slope, intercept = float(own.get("RescaleSlope") or 1), float(own.get("RescaleIntercept") or 0)
    units = str(own.get("RescaleType") or own.get("Units") or "") or UNITS.get(str(own.get("Modality")))
    about = {"meaning": "values", "slope": slope, "intercept": intercept + slope * least, "units": units}
    return stored.astype(np.uint16), said | about


def _display(frame: NDArray[Any], own: Dataset, inverted: bool, said: dict[str, Any]) -> tuple[Grey, dict[str, Any]]:
    padding = _padding(frame, own)
    signed = bool(int(own.PixelRepresentation))
    bits = int(own.BitsStored)
    floor, ceiling = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    measured = apply_modality_lut(frame, own)
    low, high = (float(end) for end in np.sort(apply_modality_lut(np.array([floor, ceiling], frame.dtype), own)))
    if own.get("ModalityLUTSequence"):
        low, high = 0.0, float((1 << int(own.ModalityLUTSequence[0].LUTDescriptor[2])) - 1)
    window = None
    if own.get("VOILUTSequence"):
        measured = apply_voi(measured, own)
        low, high = 0.0, float((1 << int(own.VOILUTSequence[0].LUTDescriptor[2])) - 1)
        window = "LUT"
    elif own.get("WindowCenter") is not None and own.get("WindowWidth") is not None:
        function = str(own.get("VOILUTFunction") or "LINEAR")
        measured = apply_windowing(measured, own)
        centre, width = (float(np.atleast_1d(own[name].value)[0]) for name in ("WindowCenter", "WindowWidth"))
        window = f"{centre:g}/{width:g}/{function}"
    if high <= low:
        low, high = float(measured.min()), float(max(measured.max(), measured.min() + 1))
    share = (np.clip(measured, low, high).astype(np.float64) - low) / (high - low)
    if inverted:
        share = 1.0 - share
    grey = np.rint(share * FULL).astype(np.uint16)
    if padding is not None:
        grey[padding] = 0
    return grey, said | {"meaning": "display", "window": window, "inverted": inverted}


def _padding(frame: NDArray[Any], own: Dataset) -> NDArray[np.bool_] | None:
    """Pixels outside of the picture (PS3.3 C.7.5.1.1.2)."""
    value, limit = own.get("PixelPaddingValue"), own.get("PixelPaddingRangeLimit")
    if value is None:
        return None
    first, last = sorted((int(value), int(value if limit is None else limit)))
    return (frame >= first) & (frame <= last)


def _eight_bits(frame: NDArray[Any]) -> NDArray[np.uint8]:
    if frame.dtype == np.uint8:
        return frame
    if (frame.dtype.kind, frame.dtype.itemsize) != ("u", 2):
        raise NotMade("pixels-unreadable", f"colour of {frame.dtype}")
    return (frame >> 8).astype(np.uint8)


def _spacing(own: Dataset) -> dict[str, Any]:
    for name, of in (("PixelSpacing", "patient"), ("ImagerPixelSpacing", "detector")):
        value = own.get(name)
        if value is not None and len(value) == 2 and all(float(part) > 0 for part in value):
            return {"row_spacing_mm": float(value[0]), "column_spacing_mm": float(value[1]), "spacing_of": of}
    return {"row_spacing_mm": None, "column_spacing_mm": None, "spacing_of": None}


def _encoded(picture: NDArray[Any], said: dict[str, Any]) -> bytes:
    """PNG by OpenCV, four times as fast as Pillow and no larger, with what we say of it put behind the header."""
    shown = picture if picture.ndim == 2 else picture[..., ::-1]  # OpenCV has blue first
    done, encoded = cv2.imencode(".png", np.ascontiguousarray(shown), COMPRESSION)
    if not done:
        raise NotMade("converter-failed", "OpenCV made no PNG")
    body: bytes = encoded.tobytes()
    own = _chunk(b"tEXt", b"Software\0" + f"Sluice {RECIPE}".encode())
    own += _chunk(b"tEXt", b"Description\0" + json.dumps(said, sort_keys=True).encode())
    if said["row_spacing_mm"] and said["column_spacing_mm"]:
        each_metre = (round(1000 / said[name]) for name in ("column_spacing_mm", "row_spacing_mm"))
        own += _chunk(b"pHYs", struct.pack(">IIB", *each_metre, 1))
    return body[:BEHIND_HEADER] + own + body[BEHIND_HEADER:]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
