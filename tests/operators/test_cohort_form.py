"""The researcher's form: what it asks for, and what it says when it cannot be understood."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from operators.cohort import CohortRequestError, form, read_form
from sluice.pacs.find.cohort import CohortFilter

pytestmark = pytest.mark.airflow


def filled(**fields: Any) -> dict[str, Any]:
    return {"project": "radiographs", "name": "t1"} | fields


def test_a_filter_becomes_a_window_and_a_filter() -> None:
    window, wanted, unusable = read_form(
        filled(modality=["CR", "DX"], from_date="2026-10-01", to_date="2026-10-31", description="thorax chest")
    )
    assert (window.key, window.kind) == ("cohort/radiographs/t1", "cohort")
    assert (window.starts_on, window.ends_on) == (date(2026, 10, 1), date(2026, 10, 31))
    assert wanted == CohortFilter(("CR", "DX"), ("thorax", "chest"))
    assert unusable == []


def test_a_list_becomes_rows_and_answers_for_what_cannot_be_asked() -> None:
    _, rows, unusable = read_form(filled(csv="accession;x\nA1;1\n*;2\n"))
    assert [row.accession for row in rows] == ["A1"]
    assert [answer.row_number for answer in unusable] == [3]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "either the list"),
        ({"from_date": "2026-10-01"}, "either the list"),
        ({"csv": "accession\nA1", "modality": ["CT"]}, "list and a filter"),
        ({"csv": "colour\nred"}, "names no column"),
        ({"from_date": "2026-10-02", "to_date": "2026-10-01"}, "Exchange them"),
        ({"from_date": "yesterday", "to_date": "2026-10-01"}, "From is no date"),
    ],
)
def test_a_form_that_cannot_be_understood_says_why_and_is_not_retried(fields: dict[str, Any], words: str) -> None:
    from airflow.sdk import RetryAction

    from operators.policies import DomainRetryPolicy

    with pytest.raises(CohortRequestError, match=words) as error:
        read_form(filled(**fields))
    assert DomainRetryPolicy().evaluate(error.value, 1, 3).action is RetryAction.FAIL


def test_the_form_offers_the_projects_and_checks_names() -> None:
    from airflow.sdk.exceptions import ParamValidationError

    fields = form()
    assert "radiographs" in fields["project"].schema["enum"]
    assert fields["name"].resolve("cohort-1") == "cohort-1"
    for name in ("../x", "a b", ""):
        with pytest.raises(ParamValidationError):
            fields["name"].resolve(name)
