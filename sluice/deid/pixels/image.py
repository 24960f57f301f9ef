"""The pixels of an object as an array, and back, in the transfer syntax that suits what was done to them.

What came uncompressed is changed in place, byte for byte. What came compressed without loss is decoded, changed and
compressed the same way again where a codec is installed, else written uncompressed. What came compressed with loss is
written uncompressed: compressed a second time it would lose a second time. Its Lossy Image Compression stays 01.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sluice.deid import gate
from sluice.deid.elements import PIXEL_DATA, DataSet, File, Fragments
from sluice.deid.held import Held
from sluice.deid.pixels.rectangle import Rectangle

Pixels = NDArray[Any]
RLE, JPEG_LS, JPEG_2000 = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
ENCODED_AGAIN = frozenset({RLE, JPEG_LS, JPEG_2000})
LOSSY = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in ("50", "51", "81", "91", "203"))
ALWAYS_LOSSY = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in ("50", "51"))
MAX_DECODED = 4 << 30  # bytes
PADDING, PADDING_LIMIT, LOSSY_COMPRESSION = 0x00280120, 0x00280121, 0x00282110
PLANAR = 0x00280006
PALETTES = (0x00281101, 0x00281102, 0x00281103, 0x00281201, 0x00281202, 0x00281203, 0x00281221, 0x00281222, 0x00281223)


@dataclass(frozen=True)
class Layout:
    """How the pixels of an object lie (PS3.3 C.7.6.3)."""

    rows: int
    columns: int
    frames: int
    samples: int
    allocated: int
    stored: int
    signed: bool
    photometric: str
    planar: int

    @classmethod
    def of(cls, elements: DataSet) -> Self:
        """The layout that a header tells.

        Raises:
            Held: it tells none that we know.
        """
        layout = cls(
            rows=gate.number(elements.get(0x00280010), 0),
            columns=gate.number(elements.get(0x00280011), 0),
            frames=max(gate.number(elements.get(gate.FRAMES), 1), 1),
            samples=gate.number(elements.get(gate.SAMPLES), 1),
            allocated=gate.number(elements.get(gate.ALLOCATED), 0),
            stored=gate.number(elements.get(gate.STORED), 0),
            signed=gate.number(elements.get(gate.SIGNED), 0) == 1,
            photometric=gate.text(elements.get(gate.PHOTOMETRIC)),
            planar=gate.number(elements.get(PLANAR), 0),
        )
        if layout.samples not in (1, 3) or layout.allocated not in (8, 16, 32) or not layout.rows * layout.columns:
            raise Held("held-unreadable", "pixels of a layout without rule")
        if layout.rows * layout.columns * layout.samples * layout.allocated // 8 * layout.frames > MAX_DECODED:
            raise Held("held-unreadable", "more pixels than can be worked on at once")
        return layout

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of a stored value."""
        return np.dtype(f"<{'i' if self.signed else 'u'}{self.allocated // 8}")

    @property
    def is_subsampled(self) -> bool:
        """Whether two uncompressed pixels share their colour."""
        return self.photometric == "YBR_FULL_422"


def frames_of(file: File, indices: Sequence[int] | None = None) -> Pixels:
    """Stored values of frames, decoded, shape (frames, rows, columns, samples); colour is RGB or as it is written.

    Args:
        indices: which frames, from 0; all when None.

    Raises:
        Held: they cannot be decoded.
    """
    if PIXEL_DATA not in file.elements:
        raise Held("held-unreadable", "no pixel data")
    layout = Layout.of(file.elements)
    wanted = range(layout.frames) if indices is None else indices
    pixels = gate.clean_pixels(file).value
    if isinstance(pixels, Fragments):
        return np.stack([decoded(file, layout, [pixels.parts[index]], raw=False)[0] for index in wanted])
    array = native(pixels, layout)
    if layout.is_subsampled:  # Y1 Y2 Cb Cr: brightness is enough to read
        array = array[..., :2].reshape(layout.frames, layout.rows, layout.columns, 1)
    elif layout.planar and layout.samples == 3:
        array = np.moveaxis(array, 1, -1)
    return array[list(wanted)]


def native(value: Any, layout: Layout) -> Pixels:
    """Uncompressed pixels as they lie, writable.

    Shape (frames, rows, columns, samples); (frames, samples, rows, columns) for colour by plane; and (frames, rows,
    columns / 2, 4) where two pixels share their colour (PS3.3 C.7.6.3.1.2).
    """
    values = np.frombuffer(value, dtype=layout.dtype).copy()
    if layout.is_subsampled:
        return values.reshape(layout.frames, layout.rows, layout.columns // 2, 4)
    if layout.samples == 3 and layout.planar:
        return values.reshape(layout.frames, 3, layout.rows, layout.columns)
    return values.reshape(layout.frames, layout.rows, layout.columns, layout.samples)


def decoded(file: File, layout: Layout, parts: list[bytes], raw: bool) -> Pixels:
    """Frames of compressed pixels, shape (frames, rows, columns, samples).

    Args:
        parts: one fragment for each frame.
        raw: colours as they are compressed; else as RGB.

    Raises:
        Held: no decoder reads them.
    """
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings print values
        try:
            array, found = get_decoder(UID(file.transfer_syntax)).as_array(
                encapsulate(parts), raw=raw, **_described(layout, len(parts))
            )
        except Exception as error:
            raise Held("held-unreadable", f"the pixels cannot be decoded ({type(error).__name__})") from error
    shape = (len(parts), layout.rows, layout.columns, layout.samples)
    if array.size != int(np.prod(shape)):
        raise Held("held-unreadable", "the compressed pixels have another size than the header says")
    if parts and not raw and layout.samples == 3 and str(found["photometric_interpretation"]) != "RGB":
        raise Held("held-unreadable", "colours that cannot be turned into RGB")
    return np.array(array).reshape(shape)


def encoded(array: Pixels, file: File, layout: Layout) -> list[bytes]:
    """Frames compressed without loss in the file's own transfer syntax, one fragment each.

    Raises:
        Held: what comes back is not what was put in.
    """
    from pydicom.pixels.encoders.base import get_encoder
    from pydicom.uid import UID

    source = array[..., 0] if layout.samples == 1 else array
    described = _described(layout, len(array))
    described["planar_configuration"] = 0
    del described["pixel_keyword"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            encoder = get_encoder(UID(file.transfer_syntax))
            frames = [
                bytes(next(iter(encoder.iter_encode(frame, **(described | {"number_of_frames": 1})))))
                for frame in source
            ]
        except Exception as error:
            raise Held("held-unreadable", f"the pixels cannot be compressed again ({type(error).__name__})") from error
    if not np.array_equal(decoded(file, layout, frames, raw=True), array):
        raise Held("held-unreadable", "the pixels cannot be compressed again without loss")
    return frames


def _described(layout: Layout, frames: int) -> dict[str, Any]:
    described: dict[str, Any] = {
        "rows": layout.rows,
        "columns": layout.columns,
        "number_of_frames": frames,
        "samples_per_pixel": layout.samples,
        "bits_allocated": layout.allocated,
        "bits_stored": layout.stored,
        "pixel_representation": int(layout.signed),
        "photometric_interpretation": layout.photometric,
        "pixel_keyword": "PixelData",
    }
    return described | ({"planar_configuration": layout.planar} if layout.samples == 3 else {})


def blank(array: Pixels, masks: Sequence[Rectangle], fill: Sequence[int], layout: Layout) -> None:
    """Write `fill`, one value a sample, over the masks in every frame; all other values stay. Works in place."""
    by_plane = layout.samples == 3 and array.shape[1] == 3 and array.shape[-1] == layout.columns
    pairs = array.shape[-1] == 4
    for mask in masks:
        part = mask.within(layout.rows, layout.columns)
        if part is None:
            continue
        rows = slice(part.top, part.bottom)
        if pairs:  # both pixels of a pair: they share a colour
            array[:, rows, part.left // 2 : (part.right + 1) // 2] = (fill[0], fill[0], *fill[1:])
        elif by_plane:
            for sample, value in enumerate(fill):
                array[:, sample, rows, part.left : part.right] = value
        else:
            array[:, rows, part.left : part.right] = fill


def background(array: Pixels, layout: Layout, photometric: str, elements: DataSet) -> tuple[int, ...]:
    """The value of each sample that is shown as black (PS3.3 C.7.6.3.1.2).

    Of grey pictures it is the darkest value that they use, so that what windows themselves by it stay as they are; the
    value that means "no pixel here" (Pixel Padding Value) is not taken for one.
    """
    if photometric == "PALETTE COLOR":
        return (_darkest_index(elements),)
    if photometric.startswith("YBR_FULL"):
        return (0, 1 << layout.stored - 1, 1 << layout.stored - 1)
    if layout.samples == 3:
        return (0, 0, 0)
    values = array[_is_picture(array, layout, elements)]
    if not values.size:
        return (int(array.flat[0]),)
    return (int(values.max()) if photometric == "MONOCHROME1" else int(values.min()),)


def _is_picture(array: Pixels, layout: Layout, elements: DataSet) -> NDArray[np.bool_]:
    padding = elements.get(PADDING)
    if padding is None or not isinstance(padding.value, bytes) or len(padding.value) < 2:
        return np.ones(array.shape, dtype=bool)
    ends = [_padding_value(padding.value, layout)]
    limit = elements.get(PADDING_LIMIT)
    if limit is not None and isinstance(limit.value, bytes) and len(limit.value) >= 2:
        ends.append(_padding_value(limit.value, layout))
    inside: NDArray[np.bool_] = (array < min(ends)) | (array > max(ends))
    return inside


def _padding_value(value: bytes, layout: Layout) -> int:
    return int.from_bytes(value[:2], "little", signed=layout.signed)


def _darkest_index(elements: DataSet) -> int:
    """The first stored value whose colour is the darkest of the palette."""
    from pydicom.dataset import Dataset
    from pydicom.pixels.processing import apply_color_lut

    dataset = Dataset()
    for tag in PALETTES:
        element = elements.get(tag)
        if element is not None and isinstance(element.value, bytes):
            if tag & 0xFF00 == 0x1100:
                numbers = [int.from_bytes(element.value[at : at + 2], "little") for at in (0, 2, 4)]
                dataset.add_new(tag, "US", numbers)
            else:
                dataset.add_new(tag, "OW", element.value)
    try:
        entries, first, _ = dataset.RedPaletteColorLookupTableDescriptor
        indices = np.arange(first, first + (entries or 65536))
        colours = apply_color_lut(indices.astype(np.uint16), dataset)
    except Exception as error:
        raise Held("held-unreadable", "the palette cannot be read") from error
    return int(indices[int(colours[..., :3].astype(np.int64).sum(axis=-1).argmin())])
