"""Text is found: light, dark, noisy, turned, in colour, in one frame of many; and nothing of it reaches a log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from sluice.deid.elements import PIXEL_DATA, Element, read_file, write_file
from sluice.deid.pixels import PixelPolicy, Screening, treatment_for
from sluice.deid.pixels.rectangle import Rectangle
from sluice.deid.pixels.sampling import frames_to_project, frames_to_read
from sluice.deid.pixels.screening import is_marker, screen_file
from tests.deid.pixels.pictures import CT, DX, NAME, SC, US_MULTI, XA, Stored, body, burn, data_of, instance


def inverted(dataset: Dataset) -> None:
    dataset.PhotometricInterpretation = "MONOCHROME1"


def colours() -> Stored:
    grey = (body(300, 400) >> 4).astype(np.uint8)
    return np.stack([burn(grey, NAME, 100, 130, value, 16) for value in (255, 255, 0)], axis=-1)  # yellow


def one_frame_of_many() -> Stored:
    frames = np.stack([body(200, 260, seed, 20) for seed in range(40)])
    frames[17] = burn(frames[17], NAME, 10, 5, 4095, 16)  # not one of the frames that are looked at
    return frames


@pytest.mark.parametrize(
    ("picture", "sop_class", "edit"),
    [
        pytest.param(burn(body(), NAME, 20, 10, 4095), DX, None, id="light"),
        pytest.param(burn(body(), NAME, 150, 190, 0), DX, None, id="dark"),
        pytest.param(burn(body(noise=250), NAME, 20, 10, 4095), DX, None, id="noisy"),
        pytest.param(burn(body(), NAME, 20, 60, 4095, turned=90), DX, None, id="turned"),
        pytest.param(burn(4095 - body(), NAME, 20, 10, 0), DX, inverted, id="monochrome1"),
        pytest.param(colours(), SC, None, id="colour"),
        pytest.param(one_frame_of_many(), XA, None, id="one frame"),
    ],
)
def test_text_is_found(picture: Stored, sop_class: str, edit: Callable[[Dataset], None] | None) -> None:
    screened = screen_file(data_of(instance(picture, sop_class, edit)))
    assert screened.failed is None
    texts = [found for found in screened.found if not found.is_marker]
    assert any("QUILL" in found.text.upper().replace(" ", "") for found in texts), texts
    assert all(found.box.within(screened.rows, screened.columns) == found.box for found in texts)


@pytest.mark.parametrize("name", ["dcm4che-test-data_src_main_resources_YBR_FULL-RLE.dcm"])
def test_a_real_ultrasound_screen_whose_region_holds_the_name_is_clean_when_it_is_masked(
    shared_data: Path, name: str
) -> None:
    data = (shared_data / "dicom" / "dcm4che" / name).read_bytes()
    screened = screen_file(data)
    said = {text.text for text in screened.found}
    assert any("HOSPITAL" in text for text in said)  # within the region that the device gives
    file = read_file(data)
    known = Screening(True, tuple(text.box for text in screened.found))
    treatment = treatment_for(file, PixelPolicy(text="mask"), known)
    file.elements[PIXEL_DATA] = treatment.apply(file)
    meta = {0x20010: Element(0x20010, "UI", file.transfer_syntax.encode())}
    left = [text.text for text in screen_file(write_file(meta, file.elements)).found]
    assert not [text for text in left if len(text) > 3], left


def test_nothing_is_found_where_nothing_is_written_and_markers_are_told() -> None:
    assert screen_file(data_of(instance(body()))).found == ()
    film = burn(burn(body(), "L", 30, 30, 4095, 40), "ERECT", 380, 360, 4095, 20)
    found = screen_file(data_of(instance(film))).found
    assert found
    assert all(text.is_marker for text in found)
    found = screen_file(data_of(instance(film, CT))).found  # a computer wrote it, and it may write more
    assert found
    assert not any(text.is_marker for text in found)


@pytest.mark.parametrize(
    ("text", "marker"),
    [
        ("L", True),
        ("R AP", True),
        ("Erect.", True),
        ("L-LAT", True),
        ("llegend", True),
        ("D", True),
        ("JB", False),
        ("MUELLER R", False),
        ("", False),
    ],
)
def test_markers(text: str, marker: bool) -> None:
    assert is_marker(text) is marker


def test_frames_of_the_sample() -> None:
    assert frames_to_read(1) == [0]
    assert frames_to_read(40) == [0, 20, 25, 39]
    assert len(frames_to_read(5000)) <= 13
    assert len(frames_to_project(5000)) <= 200
    assert list(frames_to_project(1)) == []


def test_what_cannot_be_read_is_said() -> None:
    assert "cannot be read" in (screen_file(b"nothing").failed or "")
    cut = instance(body())
    cut.Rows += 1
    assert "shorter" in (screen_file(data_of(cut)).failed or "")
    del cut.PixelData
    assert screen_file(data_of(cut)).failed == "no pixel data"


def test_nothing_of_what_is_read_is_logged(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    with caplog.at_level(logging.DEBUG):
        found = screen_file(data_of(instance(burn(body(), NAME, 20, 10, 4095)))).found
    assert found
    said = caplog.text + "".join(capfd.readouterr())
    assert "QUILL" not in said.upper()
    assert "rapidocr" not in said.lower()


def test_multi_frame_ultrasound_says_where() -> None:
    frames = np.stack([burn((body(200, 260, seed) >> 4).astype(np.uint8), NAME, 20, 8, 255, 16) for seed in range(3)])
    (text, *_) = screen_file(data_of(instance(frames, US_MULTI))).found
    assert Rectangle(15, 3, 220, 30).covers(text.box)
