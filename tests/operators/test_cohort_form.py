"""The researcher's form: what it asks for, and what it says when it cannot be understood."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from operators.cohort import CohortRequestError, form, read_form
from sluice.database import Database
from sluice.pacs.find.cohort import CohortFilter

pytestmark = pytest.mark.airflow


def filled(**fields: Any) -> dict[str, Any]:
    return {"project": "radiographs", "name": "t1"} | fields


def asked(database: Database, **fields: Any) -> Any:
    return read_form(filled(**fields), database, "rita")


def test_a_filter_becomes_a_window_and_a_filter(database: Database) -> None:
    window, wanted = asked(
        database, modality=["CR", "DX"], from_date="2026-10-01", to_date="2026-10-31", description="thorax chest"
    )
    assert (window.key, window.kind) == ("cohort/radiographs/t1", "cohort")
    assert (window.starts_on, window.ends_on) == (date(2026, 10, 1), date(2026, 10, 31))
    assert wanted == CohortFilter(("CR", "DX"), ("thorax", "chest"))


def test_a_list_is_kept_and_a_name_alone_asks_for_it_again(database: Database) -> None:
    kept = asked(database, csv="accession;x\nA1;1\n*;2\n")
    assert kept.answers == {"not-yet": 1, "refused": 1}
    assert (kept.window_key, kept.uploaded_by) == ("cohort/radiographs/t1", "rita")
    assert asked(database).list_id == kept.list_id
    other = asked(database, csv="accession\nA2")
    assert other.list_id != kept.list_id
    assert asked(database).list_id == other.list_id


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "either the list"),
        ({"from_date": "2026-10-01"}, "either the list"),
        ({"csv": "accession\nA1", "modality": ["CT"]}, "list and a filter"),
        ({"csv": "colour\nred"}, "names no column"),
        ({"csv": "accession"}, "no rows"),
        ({"from_date": "2026-10-02", "to_date": "2026-10-01"}, "Exchange them"),
        ({"from_date": "yesterday", "to_date": "2026-10-01"}, "From is no date"),
    ],
)
def test_a_form_that_cannot_be_understood_says_why_and_is_not_retried(
    database: Database, fields: dict[str, Any], words: str
) -> None:
    from airflow.sdk import RetryAction

    from operators.policies import DomainRetryPolicy

    with pytest.raises(CohortRequestError, match=words) as error:
        asked(database, **fields)
    assert DomainRetryPolicy().evaluate(error.value, 1, 3).action is RetryAction.FAIL


def test_the_form_offers_the_projects_and_checks_names() -> None:
    from airflow.sdk.exceptions import ParamValidationError

    fields = form()
    assert "radiographs" in fields["project"].schema["enum"]
    assert fields["name"].resolve("cohort-1") == "cohort-1"
    for name in ("../x", "a b", ""):
        with pytest.raises(ParamValidationError):
            fields["name"].resolve(name)
