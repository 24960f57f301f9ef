"""Masks in every layout and transfer syntax: black inside, and not one value changed outside."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from sluice.deid.elements import PIXEL_DATA, Element, Fragments, read_file, write_file
from sluice.deid.engine import deidentify
from sluice.deid.held import Held
from sluice.deid.identities import Identities
from sluice.deid.pixels import PixelPolicy, PixelTreatment, Rectangle, Screening, treatment_for
from sluice.deid.pixels.rectangle import outside
from sluice.deid.profile import Profile
from tests.deid.pixels.pictures import SC, US, body, data_of, instance
from tests.deid.test_structured import new_errors

MASK = Rectangle(4, 2, 10, 6)
EXPLICIT = "1.2.840.10008.1.2.1"


def treated(data: bytes, *masks: Rectangle) -> Dataset:
    """The file after the treatment, as the engine would write it but for the rest of the header."""
    file = read_file(data)
    element = PixelTreatment(masks or (MASK,)).apply(file)
    syntax = file.transfer_syntax if isinstance(element.value, Fragments) else EXPLICIT
    file.elements[PIXEL_DATA] = element
    return pydicom.dcmread(io.BytesIO(write_file({0x20010: Element(0x20010, "UI", syntax.encode())}, file.elements)))


def check(before: np.ndarray, after: Dataset, black: Any) -> None:
    """Black inside the mask, unchanged outside, in every frame."""
    frames = int(after.get("NumberOfFrames", 1))
    shape = (frames, after.Rows, after.Columns, after.SamplesPerPixel)
    old, new = before.reshape(shape), after.pixel_array.reshape(shape)
    inside = np.zeros(shape, bool)
    inside[:, MASK.top : MASK.bottom, MASK.left : MASK.right] = True
    assert np.array_equal(old[~inside], new[~inside])
    assert (new[:, MASK.top : MASK.bottom, MASK.left : MASK.right] == black).all()


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_grey_keeps_its_syntax_and_every_value_outside(syntax: Any, photometric: str) -> None:
    frames = np.stack([body(40, 50, seed) for seed in range(3)])
    dataset = instance(frames, edit=lambda made: setattr(made, "PhotometricInterpretation", photometric))
    if syntax:
        dataset.compress(syntax, generate_instance_uid=False)
    after = treated(data_of(dataset))
    assert after.file_meta.TransferSyntaxUID == (syntax or EXPLICIT)
    check(frames, after, frames.max() if photometric == "MONOCHROME1" else frames.min())


def test_signed_values_and_padding() -> None:
    picture = body(40, 50).astype(np.int16) - 1024
    picture[30:] = -2000

    def edit(dataset: Dataset) -> None:
        dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 1, 16, 15
        dataset.add_new(0x00280120, "SS", -2000)

    after = treated(data_of(instance(picture, "1.2.840.10008.5.1.4.1.1.2", edit)))
    check(picture, after, picture[:30].min())  # not -2000: that says there is no pixel
    assert picture[:30].min() > -2000


@pytest.mark.parametrize("planar", [0, 1])
def test_colour_by_pixel_and_by_plane(planar: int) -> None:
    picture = np.random.default_rng(2).integers(1, 255, (3, 40, 50, 3), np.uint8)

    def edit(dataset: Dataset) -> None:
        dataset.PlanarConfiguration = planar
        if planar:
            dataset.PixelData = np.moveaxis(picture, -1, 1).tobytes()

    after = treated(data_of(instance(picture, SC, edit)))
    assert after.PlanarConfiguration == planar
    check(picture, after, 0)


def test_subsampled_colour_blanks_whole_pairs() -> None:
    packed = np.random.default_rng(3).integers(1, 255, (40, 25, 4), np.uint8)
    dataset = instance(np.zeros((40, 50, 3), np.uint8), US)
    dataset.PhotometricInterpretation, dataset.PixelData = "YBR_FULL_422", packed.tobytes()
    after = treated(data_of(dataset), Rectangle(5, 2, 2, 6))  # columns 5 and 6 are of the pairs 2 and 3
    found = np.frombuffer(after.PixelData, np.uint8).reshape(packed.shape)
    assert (found[2:8, 2:4] == (0, 0, 128, 128)).all()
    packed[2:8, 2:4] = found[2:8, 2:4]
    assert np.array_equal(found, packed)


def test_a_palette_is_blanked_with_its_darkest_colour() -> None:
    picture = np.random.default_rng(4).integers(0, 256, (40, 50), np.uint8)

    def edit(dataset: Dataset) -> None:
        dataset.PhotometricInterpretation = "PALETTE COLOR"
        ramp = (np.arange(256, dtype=np.uint16)[::-1] * 257).tobytes()  # index 255 is black
        for colour in ("Red", "Green", "Blue"):
            setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
            setattr(dataset, f"{colour}PaletteColorLookupTableData", ramp)

    check(picture, treated(data_of(instance(picture, US, edit))), 255)


def test_what_lost_something_is_written_uncompressed_and_still_says_so() -> None:
    from PIL import Image

    picture = np.stack([body(40, 48) >> 4] * 3, axis=-1).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=80)
    dataset = instance(picture, SC)
    dataset.PhotometricInterpretation = "YBR_FULL_422"
    dataset.PixelData = pydicom.encaps.encapsulate([stream.getvalue()])
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    dataset.LossyImageCompressionRatio, dataset.LossyImageCompressionMethod = "9.5", "ISO_10918_1"
    before = pydicom.dcmread(io.BytesIO(data_of(dataset))).pixel_array
    after = treated(data_of(dataset))
    assert after.file_meta.TransferSyntaxUID == EXPLICIT
    assert (after.PhotometricInterpretation, after.PlanarConfiguration) == ("RGB", 0)
    assert (after.LossyImageCompression, after.LossyImageCompressionRatio) == ("01", 9.5)
    check(before, after, 0)


def test_without_masks_the_bytes_stay() -> None:
    dataset = instance(body(40, 50))
    dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    file = read_file(data_of(dataset))
    before = file.elements[PIXEL_DATA].value
    assert PixelTreatment().apply(file).value == before


def test_pixels_that_no_decoder_reads_are_held() -> None:
    dataset = instance(body(40, 50))
    dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    data = data_of(dataset)
    at = data.index(b"\xff\xda") + 12
    broken = data[:at] + b"\x55" * 40 + data[at + 40 :]
    with pytest.raises(Held, match="held-unreadable"):
        treated(broken)


def test_real_objects_of_every_transfer_syntax(shared_data: Path) -> None:
    syntaxes = set()
    for path in sorted((shared_data / "dicom" / "pydicom-data").glob("*.dcm")):
        data = path.read_bytes()
        try:
            original = pydicom.dcmread(io.BytesIO(data))
            before = original.pixel_array
            if "PixelData" not in original:
                continue  # values that are no picture
            after = treated(data)
        except (Held, pydicom.errors.InvalidDicomError, AttributeError, ValueError, RuntimeError):  # no pixels to see
            continue
        if "YBR_FULL_422" not in path.name:
            new = after.pixel_array
            inside = np.zeros(before.shape[-3:-1] if after.SamplesPerPixel == 3 else before.shape[-2:], bool)
            inside[MASK.top : MASK.bottom, MASK.left : MASK.right] = True
            kept = ~inside[..., None] if after.SamplesPerPixel == 3 else ~inside
            assert np.array_equal(np.where(kept, before, 0), np.where(kept, new, 0)), path.name
            syntaxes.add(read_file(data).transfer_syntax)
    assert len(syntaxes) >= 9


BOXES = st.builds(Rectangle, st.integers(-5, 30), st.integers(-5, 30), st.integers(1, 25), st.integers(1, 25))


@given(st.lists(BOXES, max_size=4))
def test_what_lies_outside_is_covered_once(kept: list[Rectangle]) -> None:
    counted = np.zeros((20, 24), int)
    for box in outside(kept, 20, 24):
        counted[box.top : box.bottom, box.left : box.right] += 1
    inside = np.zeros((20, 24), bool)
    for box in kept:
        if part := box.within(20, 24):
            inside[part.top : part.bottom, part.left : part.right] = True
    assert np.array_equal(counted, (~inside).astype(int))


@pytest.mark.peer
@pytest.mark.parametrize(
    "name",
    [
        "pydicom-data/data_store_data_OBXXXX1A_rle_2frame.dcm",
        "dcm4che/dcm4che-test-data_src_main_resources_YBR_422.dcm",
        "dcm4che/dcm4che-test-data_src_main_resources_YBR_FULL-RLE.dcm",
        "pydicom-data/data_store_data_RG3_J2KI.dcm",
    ],
)
def test_a_masked_object_is_as_valid_as_it_was(shared_data: Path, name: str) -> None:
    data = (shared_data / "dicom" / name).read_bytes()
    known = Screening(True, (Rectangle(200, 200, 40, 20),))
    treatment = treatment_for(read_file(data), PixelPolicy(text="mask", claim=True), known)
    produced = deidentify(data, Profile.preset("basic"), Identities(b"k" * 32, "RAD"), treatment)
    assert "113101" in dict(produced.codes)
    assert not new_errors(data, produced.data)
