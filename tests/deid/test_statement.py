"""The page for the data protection officer says what the tables say."""

from __future__ import annotations

from sluice.deid.statement import PAGE, page_with_statement


def test_the_page_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page_with_statement(page) == page, "run: python -m sluice.deid.statement"
