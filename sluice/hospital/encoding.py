"""Write pixels into a dataset in the transfer syntax that the scanner would send."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

SYNTAXES: dict[str, UID] = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "big-endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "rle": RLELossless,
    "jpeg-ls": JPEGLSLossless,
    "j2k": JPEG2000Lossless,
    "jpeg-lossless": JPEGLosslessSV1,
    "jpeg-baseline": JPEGBaseline8Bit,
}


def set_pixels(
    ds: Dataset, picture: npt.NDArray[Any], syntax: str, bits_stored: int, photometric: str = "MONOCHROME2"
) -> None:
    """Fill the Image Pixel module (PS3.3 C.7.6.3) and the transfer syntax of `ds`.

    `picture` is (rows, columns) or, for RGB, (rows, columns, 3). JPEG baseline takes 8 bits: deeper pictures are
    reduced to their upper 8, and the lossy flags are set (PS3.3 C.7.6.1.1.5).
    """
    if syntax == "jpeg-baseline" and bits_stored > 8:
        picture, bits_stored = (picture >> (bits_stored - 8)).astype(np.uint8), 8
    if bits_stored <= 8:
        picture = picture.astype(np.uint8)
    colour = picture.ndim == 3
    ds.SamplesPerPixel = 3 if colour else 1
    ds.PhotometricInterpretation = "RGB" if colour else photometric
    if colour:
        ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = picture.shape[:2]
    ds.BitsAllocated = picture.dtype.itemsize * 8
    ds.BitsStored = bits_stored
    ds.HighBit = bits_stored - 1
    ds.PixelRepresentation = int(picture.dtype.kind == "i")
    ds.file_meta.TransferSyntaxUID = SYNTAXES[syntax]
    picture = np.ascontiguousarray(picture)
    if syntax in ("explicit", "implicit", "deflated", "big-endian"):
        _native(ds, picture, big_endian=syntax == "big-endian")
    elif syntax == "jpeg-baseline":
        _jpeg_baseline(ds, picture)
    elif syntax == "jpeg-lossless":
        _jpeg_lossless(ds, picture)
    else:
        # pydicom gives compress() a new UID unless told not to; a lossless copy keeps its identity here.
        ds.compress(SYNTAXES[syntax], picture, generate_instance_uid=False, encoding_plugin=_plugin(syntax))


def _plugin(syntax: str) -> str:
    return {"rle": "gdcm", "jpeg-ls": "pyjpegls", "j2k": "pylibjpeg"}[syntax]


def _native(ds: Dataset, picture: npt.NDArray[Any], big_endian: bool) -> None:
    raw = (picture.byteswap() if big_endian and picture.dtype.itemsize > 1 else picture).tobytes()
    ds.PixelData = raw + b"\0" * (len(raw) % 2)
    ds["PixelData"].VR = "OW" if picture.dtype.itemsize > 1 or ds.file_meta.TransferSyntaxUID.is_implicit_VR else "OB"


def _jpeg_baseline(ds: Dataset, picture: npt.NDArray[np.uint8]) -> None:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=92, subsampling=0)
    if picture.ndim == 3:
        ds.PhotometricInterpretation = "YBR_FULL"
    ds.LossyImageCompression = "01"
    ds.LossyImageCompressionMethod = "ISO_10918_1"
    ds.LossyImageCompressionRatio = round(picture.nbytes / max(len(stream.getvalue()), 1), 2)
    _encapsulated(ds, stream.getvalue())


def _jpeg_lossless(ds: Dataset, picture: npt.NDArray[Any]) -> None:
    """Process 14, selection value 1, by GDCM, which works on files."""
    import gdcm
    import pydicom

    plain = Dataset()
    plain.file_meta = pydicom.dataset.FileMetaDataset()
    plain.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    plain.SOPClassUID, plain.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "2.25.1"
    for keyword in ("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns",
                    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):  # fmt: skip
        if keyword in ds:
            setattr(plain, keyword, ds[keyword].value)
    _native(plain, picture, big_endian=False)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "plain.dcm", Path(folder) / "lossless.dcm"
        plain.save_as(source, enforce_file_format=True)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(source))
        if not reader.Read():
            raise RuntimeError("GDCM could not read the picture it should compress.")
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        if not change.Change():
            raise RuntimeError("GDCM could not compress the picture as lossless JPEG.")
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(target))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        if not writer.Write():
            raise RuntimeError("GDCM could not write the compressed picture.")
        _encapsulated(ds, next(generate_frames(pydicom.dcmread(target).PixelData, number_of_frames=1)))


def _encapsulated(ds: Dataset, frame: bytes) -> None:
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
