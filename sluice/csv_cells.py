"""Cells of a CSV that a spreadsheet program shows and does not run.

What headers, PACS and people wrote may begin like a formula (OWASP, CSV injection).
"""

from __future__ import annotations

from typing import Any

_BEGINS_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")


def inert(value: Any) -> Any:
    """A cell that no spreadsheet program takes for a formula: such a text gets an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and _is_formula(value) else value


def as_written(cell: str) -> str:
    """The text of a cell that `inert` gave."""
    return cell[1:] if cell.startswith("'") and _is_formula(cell) else cell


def _is_formula(text: str) -> bool:
    return text.lstrip("'").startswith(_BEGINS_FORMULA)  # with apostrophes, too, so that each text can be had again
