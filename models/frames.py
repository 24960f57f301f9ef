"""Stored values of a file's first frame, no larger than asked for where its transfer syntax allows that.

Uncompressed values are looked at where they stand in the file; nothing is copied. JPEG 2000 is decoded at a lower
resolution level and JPEG Baseline at a lower one of its DCT, which costs a fraction of the whole. The other compressed
syntaxes have no such level and are decoded whole.
"""

from __future__ import annotations

import io
import math
import mmap
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from models.framing import NotReadable

MAX_BYTES = 1 << 30
"""Of a file; the largest radiograph of `preprocess.MAX_PIXELS` has a third of it."""
PIXELS = 0x7FE00010
# pydicom warns about odd values by quoting them, and a quoted value may identify a patient. Set here once, for
# `warnings.catch_warnings` is not safe between the threads that decode.
warnings.filterwarnings("ignore", module=r"pydicom\b.*")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # `MAX_PIXELS` is the limit here
_LONG_VRS = (b"OB", b"OW", b"UN")
_UNDEFINED = 0xFFFFFFFF
_IN_PLACE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_J2K = (JPEG2000, JPEG2000Lossless, HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL)


class _Whole(Exception):  # noqa: N818
    """The quick way does not fit this frame; the general decoders say what is in it."""


@dataclass(frozen=True)
class Values:
    """Stored values of the frame, each of them standing for `reduced` x `reduced` pixels of it."""

    array: NDArray[Any]
    reduced: int


class FirstFrame:
    """A DICOM file and its first frame; a context manager.

    Attributes:
        header: its elements before the pixels.
        has_pixels: whether pixels follow.

    Raises:
        NotReadable: `pixels-unreadable` when the file is gone or no DICOM file, `pixels-unsuitable` when it is so
            large that it holds no radiograph.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._all: Values | None = None
        try:
            self._file: BinaryIO = path.open("rb")
        except FileNotFoundError:
            raise NotReadable("pixels-unreadable", "the file is gone from the archive") from None
        except OSError as error:
            raise NotReadable(
                "pixels-unreadable", f"the file cannot be opened ({error.strerror}): is the archive mounted?"
            ) from None
        try:
            self._read_header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> FirstFrame:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def values(self, side: int) -> Values:
        """Stored values whose longer side has at least `side` pixels, where the frame has so many.

        Raises:
            NotReadable: `pixels-unreadable`, they cannot be decoded; `pixels-unsuitable`, they are no plane.
        """
        if self._all is not None:
            return self._all
        syntax = self._syntax
        name = syntax.name if syntax is not None and not syntax.is_private else "unknown transfer syntax"
        try:
            try:
                found = self._quick(side)
            except (_Whole, struct.error, SyntaxError, OSError):
                found = Values(self._whole(), 1)
        except Exception as error:
            # Plugins raise whatever their libraries make of damaged bytes.
            raise NotReadable("pixels-unreadable", f"{name}: cannot be decoded ({type(error).__name__})") from None
        if found.array.ndim != 2:
            raise NotReadable("pixels-unsuitable", f"the frame has {found.array.ndim} dimensions instead of 2")
        values = Values(self._without_dirt(found.array), found.reduced)
        if values.reduced == 1:
            self._all = values  # nothing finer is to be had: whoever asks again for more gets these
        return values

    def _read_header(self) -> None:
        size = self._path.stat().st_size
        if size > MAX_BYTES:
            raise NotReadable("pixels-unsuitable", f"the file has {size} bytes, more than {MAX_BYTES}: no radiograph")
        try:
            self.header: Dataset = dcmread(self._file, stop_before_pixels=True)  # type: ignore[arg-type]
            syntax = getattr(getattr(self.header, "file_meta", None), "TransferSyntaxUID", None)
            self._syntax: UID | None = syntax if isinstance(syntax, UID) else None
            self._pixels_at = self._file.tell()
            self.has_pixels = self._file.read(2) in (b"\xe0\x7f", b"\x7f\xe0") or self._inflates_to_pixels()
        except NotReadable:
            raise
        except Exception as error:
            # A damaged header can fail in many ways inside the parser; each means the same to the caller.
            raise NotReadable("pixels-unreadable", f"not a readable DICOM file ({type(error).__name__})") from None

    def _inflates_to_pixels(self) -> bool:
        if self._syntax is None or not self._syntax.is_deflated:
            return False
        whole = dcmread(self._path)
        return any(keyword in whole for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"))

    def _quick(self, side: int) -> Values:
        if self._syntax is None:
            raise _Whole
        if self._syntax in _IN_PLACE:
            return Values(self._in_place(), 1)
        ways: dict[str, Callable[[bytes, int], Values]] = {RLELossless: self._rle, JPEGBaseline8Bit: self._jpeg}
        ways |= dict.fromkeys(_J2K, self._j2k)
        if self._syntax not in ways:
            raise _Whole
        return ways[self._syntax](self._frame_bytes(), side)

    def _sizes(self) -> tuple[int, int, int, int]:
        """Rows, columns, Bits Allocated and Pixel Representation."""
        header = self.header
        try:
            return int(header.Rows), int(header.Columns), int(header.BitsAllocated), int(header.PixelRepresentation)
        except (AttributeError, TypeError, ValueError):
            raise _Whole from None

    def _pixel_data(self) -> tuple[int, int]:
        """Where the value of Pixel Data begins, and its length."""
        explicit = self._syntax != ImplicitVRLittleEndian
        self._file.seek(self._pixels_at)
        start = self._file.read(12)
        group, element = struct.unpack_from("<HH", start)
        if (group << 16 | element) != PIXELS:
            raise _Whole
        if not explicit:
            return self._pixels_at + 8, struct.unpack_from("<I", start, 4)[0]
        if start[4:6] not in _LONG_VRS:
            raise _Whole
        return self._pixels_at + 12, struct.unpack_from("<I", start, 8)[0]

    def _in_place(self) -> NDArray[Any]:
        rows, columns, bits, signed = self._sizes()
        begin, length = self._pixel_data()
        needed = rows * columns * bits // 8
        if bits not in (8, 16) or length == _UNDEFINED or length < needed:
            raise _Whole
        mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        if len(mapped) < begin + needed:
            raise _Whole
        kind = np.dtype(f"<{'i' if signed else 'u'}{bits // 8}")
        return np.frombuffer(mapped, kind, rows * columns, begin).reshape(rows, columns)

    def _frame_bytes(self) -> bytes:
        begin, _ = self._pixel_data()
        self._file.seek(begin)
        try:
            frames = int(self.header.get("NumberOfFrames") or 1)
            return get_frame(self._file, 0, number_of_frames=frames)
        except Exception:
            raise _Whole from None

    def _rle(self, data: bytes, _: int) -> Values:
        """PS3.5 annex G: a segment for each byte of a value, the highest first, each in PackBits."""
        rows, columns, bits, signed = self._sizes()
        count, *offsets = struct.unpack_from("<16I", data)
        if bits not in (8, 16) or count != bits // 8:
            raise _Whole
        ends = [*offsets[1:count], len(data)]
        try:
            planes = [
                np.asarray(Image.frombytes("L", (columns, rows), data[begin:end], "packbits", "L"))
                for begin, end in zip(offsets[:count], ends, strict=True)
            ]
        except ValueError:  # runs that go on in the next row: the general decoder bears them
            raise _Whole from None
        values = planes[0] if count == 1 else cv2.merge(planes[::-1]).view("<u2")[..., 0]
        return Values(values.view(f"<i{bits // 8}") if signed else values, 1)

    def _jpeg(self, data: bytes, side: int) -> Values:
        rows, columns, _, _ = self._sizes()
        with Image.open(io.BytesIO(data)) as image:
            if image.size != (columns, rows) or image.mode != "L":
                raise _Whole
            image.draft("L", _at_least(side, rows, columns))
            values = np.asarray(image)
        return Values(values, max(1, round(max(rows, columns) / max(values.shape))))

    def _j2k(self, data: bytes, side: int) -> Values:
        """At a lower level; Pillow gives more than 8 bits scaled up to 16, and signed values wrong."""
        rows, columns, bits, signed = self._sizes()
        precision, levels = _j2k_depth(data, rows, columns)
        if signed or bits > 16 or precision > 16:
            raise _Whole
        levels = min(levels, max(0, int(math.log2(max(1.0, max(rows, columns) / side)))))
        if levels == 0:
            raise _Whole  # the general decoder is quicker at all of it
        with Image.open(io.BytesIO(data)) as image:
            if image.size != (columns, rows):
                raise _Whole
            image.reduce = levels  # type: ignore[method-assign, assignment]
            values = np.asarray(image)
        if precision > 8:
            values = values.astype(np.uint16) >> (16 - precision)
        return Values(values, 1 << levels)

    def _whole(self) -> NDArray[Any]:
        """By whichever installed plugin reads its transfer syntax."""
        if self._syntax is not None and not self._syntax.is_private and not self._syntax.is_encapsulated:
            return pixel_array(dcmread(self._path), index=0, raw=True)
        options: dict[str, Any] = {}
        if self._syntax in JPEGLSTransferSyntaxes and "pyjpegls" in get_decoder(self._syntax).available_plugins:
            options["decoding_plugin"] = "pyjpegls"  # CharLS, twice as fast as GDCM's
        return pixel_array(self._path, index=0, raw=True, **options)

    def _without_dirt(self, values: NDArray[Any]) -> NDArray[Any]:
        """Bits above Bits Stored hold no grey value (PS3.5 8.1.1): old devices keep overlays there.

        Every sixteenth row is looked at: letters are higher than that.
        """
        if values.dtype.kind != "u":
            return values
        try:
            stored, high = int(self.header.BitsStored), int(self.header.HighBit)
        except (AttributeError, TypeError, ValueError):
            return values
        if high != stored - 1 or not 1 <= stored < values.dtype.itemsize * 8 or int(values[::16].max()) >> stored == 0:
            return values
        masked: NDArray[Any] = values & values.dtype.type((1 << stored) - 1)
        return masked


def _at_least(side: int, rows: int, columns: int) -> tuple[int, int]:
    """Width and height of the frame with its longer side as long as `side`."""
    scale = min(1.0, side / max(rows, columns))
    return max(1, math.ceil(columns * scale)), max(1, math.ceil(rows * scale))


def _j2k_depth(data: bytes, rows: int, columns: int) -> tuple[int, int]:
    """Bits a value and levels of a codestream of one component (ISO 15444-1 A.5.1, A.6.1)."""
    if data[:4] != b"\xff\x4f\xff\x51":
        raise _Whole
    width, height, x, y = struct.unpack_from(">4I", data, 8)
    (components,) = struct.unpack_from(">H", data, 40)
    coding = data.find(b"\xff\x52", 42, 4096)
    if (width - x, height - y, components) != (columns, rows, 1) or data[42] & 0x80 or coding < 0:
        raise _Whole
    return (data[42] & 0x7F) + 1, data[coding + 9]
