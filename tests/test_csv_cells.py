"""Cells that spreadsheet programs do not run, and the texts that they stand for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.csv_cells import as_written, inert


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2", "@SUM(1)", "\tx", "'=1"])
def test_what_begins_like_a_formula_is_no_formula(text: str) -> None:
    assert inert(text) == f"'{text}"


@pytest.mark.parametrize("value", [None, -3, "Thorax", "", "'Thorax", "a=b"])
def test_what_does_not_stays_as_it_is(value: object) -> None:
    assert inert(value) == value


@given(st.text(alphabet="'=+-@|% a") | st.text())
def test_each_text_can_be_had_again(text: str) -> None:
    assert as_written(inert(text)) == text
