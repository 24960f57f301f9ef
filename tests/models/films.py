"""DICOM radiographs made for tests: a picture with structure, in any photometric interpretation and transfer syntax."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CR_IMAGE = "1.2.840.10008.5.1.4.1.1.1"


def body(rows: int = 300, columns: int = 260) -> np.ndarray:
    """A body-like picture in 0..1: bright ellipse with a brighter column, on darkness."""
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    picture = np.clip(1.1 - (x**2 / 0.7 + y**2 / 0.9), 0, 1) * 0.6
    picture += 0.3 * (np.abs(x) < 0.1) * (np.abs(y) < 0.9)
    return picture + 0.1 * (y + 1) / 2


def film(pixels: np.ndarray, bits: int = 12, **elements: Any) -> FileDataset:
    """A CR image holding integer pixels; keywords set or (None) delete elements."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CR_IMAGE
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = CR_IMAGE, meta.MediaStorageSOPInstanceUID
    dataset.Modality = "CR"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = 8 if pixels.dtype.itemsize == 1 else 16
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    if pixels.ndim == 3:
        dataset.NumberOfFrames = len(pixels)
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def body_film(**elements: Any) -> FileDataset:
    """A 12-bit film of `body`."""
    return film((body() * 3800 + 100).astype(np.uint16), **elements)


def written(dataset: FileDataset, folder: Path, name: str = "film.dcm") -> Path:
    """The file it was saved to."""
    path = folder / name
    dataset.save_as(path, enforce_file_format=True)
    return path
