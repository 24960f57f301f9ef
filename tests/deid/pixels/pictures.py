"""Pictures with text burned in, and DICOM objects made of them."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from tests.deid.planted import encoded, image

DX, CT, SC = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.7"
US, US_MULTI, XA = "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.3.1", "1.2.840.10008.5.1.4.1.1.12.1"
NAME = "QUILLFEATHER 1949"
Stored = NDArray[Any]


def body(rows: int = 400, columns: int = 500, seed: int = 1, noise: float = 60.0) -> Stored:
    """Something like a film of 12 bits: a bright ellipse with a soft edge before a dark background, with noise."""
    y, x = np.mgrid[0:rows, 0:columns]
    distance = ((x - columns / 2) / (columns * 0.36)) ** 2 + ((y - rows / 2) / (rows * 0.4)) ** 2
    soft = 2400 / (1 + np.exp(8 * (distance - 1))) + 200
    noisy = soft + np.random.default_rng(seed).normal(0, noise, soft.shape)
    return np.clip(noisy, 0, 4095).astype(np.uint16)


def burn(picture: Stored, text: str, left: int, top: int, value: int, height: int = 18, turned: int = 0) -> Stored:
    """The picture with text written into it, `turned` degrees to the left."""
    font = ImageFont.load_default(height)
    width, bottom = (int(edge) + 2 for edge in font.getbbox(text)[2:])
    stamp = Image.new("L", (width, bottom))
    ImageDraw.Draw(stamp).text((0, 0), text, font=font, fill=255)
    share = np.asarray(stamp.rotate(turned, expand=True)).astype(np.float64) / 255
    written = picture.astype(np.float64)
    region = written[top : top + share.shape[0], left : left + share.shape[1]]
    share = share[: region.shape[0], : region.shape[1]]
    region[:] = region * (1 - share) + value * share
    return written.round().astype(picture.dtype)


def instance(
    picture: Stored, sop_class: str = DX, edit: Callable[[Dataset], None] | None = None, **given: Any
) -> Dataset:
    """A DICOM object of a picture: (rows, columns) or (frames, rows, columns), with a last axis of three for colour."""
    given.setdefault("modality", {CT: "CT", US: "US", US_MULTI: "US", SC: "OT", XA: "XA"}.get(sop_class, "DX"))
    dataset = image(sop_class=sop_class, **given)
    colour = picture.shape[-1] == 3
    frames = picture if picture.ndim == 3 + colour else picture[np.newaxis]
    dataset.Rows, dataset.Columns = frames.shape[1:3]
    dataset.BitsAllocated = picture.dtype.itemsize * 8
    dataset.BitsStored = 12 if picture.dtype.itemsize == 2 else 8
    dataset.HighBit = dataset.BitsStored - 1
    if len(frames) > 1:
        dataset.NumberOfFrames = len(frames)
    if colour:
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.PixelData = frames.tobytes()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.PixelSpacing = [0.5, 0.5]
    if edit:
        edit(dataset)
    return dataset


def regions(*boxes: tuple[int, int, int, int]) -> Callable[[Dataset], None]:
    """An edit that gives an object ultrasound regions (left, top, right, bottom; inclusive)."""

    def edit(dataset: Dataset) -> None:
        items = []
        for left, top, right, bottom in boxes:
            item = Dataset()
            item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = 1, 1, 0
            item.RegionLocationMinX0, item.RegionLocationMinY0 = left, top
            item.RegionLocationMaxX1, item.RegionLocationMaxY1 = right, bottom
            items.append(item)
        dataset.SequenceOfUltrasoundRegions = Sequence(items)
        dataset.ImageType = ["ORIGINAL", "PRIMARY"]

    return edit


def data_of(dataset: Dataset) -> bytes:
    """The object as a file."""
    return encoded(dataset)


def pixels_of(data: bytes) -> Stored:
    """The decoded pixels of a file."""
    import pydicom

    array: Stored = pydicom.dcmread(io.BytesIO(data)).pixel_array
    return array
