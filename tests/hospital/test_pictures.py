"""The drawn radiographs: each region differs from the others, and a filter shows as metal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sluice.hospital import pictures

EDGE = 256


def small(region: str, seed: int, **more: bool) -> np.ndarray:
    picture = pictures.radiograph(region, seed, EDGE, **more)
    image = Image.fromarray((picture >> 4).astype(np.uint8)).resize((32, 32), Image.Resampling.BOX)
    values = np.asarray(image, np.float32).ravel()
    return (values - values.mean()) / values.std()


def test_a_drawing_is_nearest_to_its_own_region() -> None:
    regions = sorted(pictures.DRAWINGS)
    first = np.stack([small(region, 1) for region in regions])
    second = np.stack([small(region, 2) for region in regions])
    nearest = (second @ first.T).argmax(axis=1)
    assert list(nearest) == list(range(len(regions)))


@pytest.mark.parametrize("region", sorted(pictures.DRAWINGS))
def test_a_drawing_uses_its_twelve_bits_and_its_seed(region: str) -> None:
    picture = pictures.radiograph(region, 3, EDGE)
    assert picture.dtype == np.uint16
    assert max(picture.shape) == EDGE
    assert 2_000 < int(picture.max()) <= 4_095
    assert np.array_equal(picture, pictures.radiograph(region, 3, EDGE))
    assert not np.array_equal(picture, pictures.radiograph(region, 4, EDGE))


@pytest.mark.parametrize("region", ["ABDOMEN", "LSPINE"])
def test_a_filter_adds_bright_thin_wires_beside_the_spine(region: str) -> None:
    plain = pictures.radiograph(region, 5, 512).astype(np.float32)
    filtered = pictures.radiograph(region, 5, 512, ivc_filter=True).astype(np.float32)
    rows, columns = plain.shape
    brighter = filtered - plain > 600
    assert 40 < brighter.sum() < 0.03 * plain.size
    y, x = np.nonzero(brighter)
    assert 0.25 < np.median(x) / columns < 0.55
    assert 0.2 < np.median(y) / rows < 0.6


def test_a_childs_chest_is_not_an_adults() -> None:
    adult, child = small("CHEST", 1), small("CHEST", 1, child=True)
    assert float(adult @ child) / adult.size < 0.9


def test_left_is_the_mirror_of_right() -> None:
    right = pictures.radiograph("HAND", 3, EDGE, laterality="R")
    left = pictures.radiograph("HAND", 3, EDGE, laterality="L")
    lower = slice(EDGE // 3, None)  # below the side marker
    assert np.array_equal(left[lower], right[lower, ::-1])


def test_the_sheet_shows_every_drawing(tmp_path: Path) -> None:
    target = tmp_path / "docs" / "sheet.png"
    assert pictures.main([str(target)]) == 0
    with Image.open(target) as sheet:
        assert min(sheet.size) > 300
        assert np.asarray(sheet).std() > 20
    assert pictures.main([]) == 2
