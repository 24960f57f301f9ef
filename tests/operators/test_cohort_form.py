"""The researcher's form: what it asks for, and what it says when it cannot be understood."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from operators.cohort import _window_of_filter, form
from sluice.cohorts.freeze import freeze
from sluice.cohorts.language import digest, parse_text
from sluice.cohorts.lists import delete_list
from sluice.database import Database
from sluice.deid.profile import PRESETS
from sluice.release.requests.form import CohortRequestError, read_form
from sluice.release.requests.registry import OWN_PROFILE

pytestmark = pytest.mark.airflow


def filled(**fields: Any) -> dict[str, Any]:
    return {"project": "radiographs", "name": "t1"} | fields


def asked(database: Database, **fields: Any) -> Any:
    return read_form(filled(**fields), database, "rita")


def test_a_filter_is_read_and_its_window_has_its_dates(database: Database) -> None:
    request = asked(database, filter="modality: [CR, DX]\nstudy_date: {from: 2026-10-01, to: 2026-10-31}\n")
    window = _window_of_filter(request, date(2026, 11, 26))
    assert (window.key, window.kind) == ("cohort/radiographs/t1", "cohort")
    assert (window.starts_on, window.ends_on) == (date(2026, 10, 1), date(2026, 10, 31))
    assert digest(request.expression) == digest(
        parse_text("{modality: [DX, CR], study_date: {between: [2026-10-01, 2026-10-31]}}")
    )
    open_ended = _window_of_filter(asked(database, filter="age: {min: 18}"), date(2026, 11, 26))
    assert (open_ended.starts_on.year, open_ended.ends_on) == (1926, date(2026, 11, 26))
    with pytest.raises(CohortRequestError, match="may not filter by what identifies"):
        _window_of_filter(asked(database, filter="patient_id: P1"), date(2026, 11, 26))
    with pytest.raises(CohortRequestError, match="exclude each other"):
        _window_of_filter(
            asked(database, filter="all: [study_date: {year: 2020}, study_date: {year: 2021}]"), date(2026, 11, 26)
        )


def test_a_name_stands_for_its_frozen_filter_or_one_of_its_versions(database: Database) -> None:
    frozen = freeze(database, "t1", parse_text("modality: CT"), "rita", "a test", "radiographs")
    assert asked(database).expression == parse_text("modality: CT")
    request = asked(database, version=1)
    assert (request.kind, request.version_id) == ("version", frozen.version_id)
    with pytest.raises(CohortRequestError, match="no version 2"):
        asked(database, version=2)
    with pytest.raises(CohortRequestError, match="no version 1"):
        read_form(filled(version=1) | {"project": "chest-follow-up"}, database, "rita")
    kept = asked(database, csv="accession\nA1").kept
    with pytest.raises(CohortRequestError, match="Both a list and a frozen cohort"):
        asked(database)
    delete_list(database, kept.list_id)
    assert asked(database).kind == "filter"


def test_a_list_is_kept_and_a_name_alone_asks_for_it_again(database: Database) -> None:
    kept = asked(database, csv="accession;x\nA1;1\n*;2\n").kept
    assert kept.answers == {"not-yet": 1, "refused": 1}
    assert (kept.window_key, kept.uploaded_by) == ("cohort/radiographs/t1", "rita")
    assert asked(database).kept.list_id == kept.list_id
    other = asked(database, csv="accession\nA2").kept
    assert other.list_id != kept.list_id
    assert asked(database).kept.list_id == other.list_id


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "nothing stands under"),
        ({"csv": "accession\nA1", "filter": "modality: CT"}, "a list and a filter"),
        ({"filter": "modality: CT", "version": 1}, "a filter and a version"),
        ({"csv": "colour\nred"}, "names no column"),
        ({"csv": "accession"}, "no rows"),
        ({"filter": "modalty: CT"}, "Did you mean modality"),
        ({"filter": "a: ["}, "no YAML"),
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
    assert fields["profile"].schema["enum"] == [OWN_PROFILE, *PRESETS]
    assert fields["profile"].resolve() == OWN_PROFILE
    for name in ("../x", "a b", ""):
        with pytest.raises(ParamValidationError):
            fields["name"].resolve(name)
