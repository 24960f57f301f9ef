"""The generated documents say what the tables say, and every row of the standard is in them."""

from __future__ import annotations

import re

from sluice.deid.profile import OPTIONS, PRESETS
from sluice.deid.statement import CONFORMANCE, PAGE, TABLE, conformance, page_with_statement, profile_table
from sluice.deid.tables import table


def test_the_documents_are_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")
    message = "run: python -m sluice.deid.statement"
    assert page_with_statement(page) == page, message
    assert TABLE.read_text(encoding="utf-8") == profile_table(), message
    assert CONFORMANCE.read_text(encoding="utf-8") == conformance(), message


def test_every_row_is_served_under_every_preset() -> None:
    lines = [line for line in profile_table().splitlines() if re.match(r"\| (\(|private)", line)]
    assert len(lines) == len(table("basic_profile")) == 656
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        assert len(cells) == 3 + len(PRESETS)
        assert all(cells)


def test_what_the_table_says_of_some_rows() -> None:
    lines = {line.split(" | ")[0].strip("| "): line for line in profile_table().splitlines() if line.startswith("| (")}
    assert "new UID" in lines["(0020,000d)"]
    assert lines["(0008,0020)"].count("date moved") == 2
    assert lines["(0008,1030)"].endswith("| removed | words of the list | words of the list |")
    assert "1: dummy; 2: emptied; 3: removed; –: removed" in lines["(0008,002a)"]
    assert lines["(0018,1000)"].count("kept") == 1


def test_the_conformance_statement_names_every_option() -> None:
    text = conformance()
    for option, (code, meaning) in OPTIONS.items():
        assert f"{meaning} `{option}` | {code}" in text
