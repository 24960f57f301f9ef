"""What a filter may take is asked of the PACS, or taken from what sweeps have listed."""

from __future__ import annotations

from datetime import date

import pytest

from sluice.cohorts.errors import CohortError
from sluice.cohorts.filter_sweep import sweep_filter, window_of_filter
from sluice.cohorts.language import parse_text
from sluice.database import Database
from sluice.pacs.find.sweep import sweep
from sluice.windows import Window
from tests.pacs.pretend import PretendPacs, make_study
from tests.pacs.sending import rows

TODAY = date(2026, 11, 26)
DAY = Window.of_day(date(2026, 10, 26))


def expected(database: Database, key: str) -> set[str]:
    found = rows(database, f"select sop_instance_uid from expectation where window_key = '{key}'")
    return {row["sop_instance_uid"] for row in found}


def test_the_pacs_is_asked_for_dates_modalities_and_words(database: Database) -> None:
    thorax = make_study(1, 2, Modality="CR", StudyDescription="Thorax a.p.")
    others = [
        *make_study(1, 1, Modality="CR", StudyDescription="Knie"),
        *make_study(1, 1, Modality="CT", StudyDescription="Thorax"),
        *make_study(1, 1, Modality="CR", StudyDescription="Thorax", StudyDate="20250101"),
    ]
    text = "modality: [cr, DX]\nstudy_date: {from: 2026-10-01}\nstudy_description: {contains: thorax}\nage: {min: 18}\n"
    expression = parse_text(text)
    window = window_of_filter("lung", "films", expression, TODAY)
    assert (window.starts_on, window.ends_on) == (date(2026, 10, 1), TODAY)
    with PretendPacs([*thorax, *others]) as pacs:
        summary = sweep_filter(database, pacs.node(), window, expression, TODAY)
    assert summary.as_dict()["pacs_was_asked"] is True
    assert summary.as_dict()["studies"] == 1
    assert expected(database, "cohort/lung/films") == {one.SOPInstanceUID for one in thorax}


def test_without_dates_what_sweeps_have_listed_is_taken(database: Database) -> None:
    ct, mr = make_study(1, 2, Modality="CT"), make_study(1, 3, Modality="MR")
    expression = parse_text("modality: CT")
    with PretendPacs([*ct, *mr]) as pacs:
        sweep(database, pacs.node(), DAY)
        asked = len(pacs.queries)
        window = window_of_filter("lung", "ct", expression, TODAY)
        summary = sweep_filter(database, pacs.node(), window, expression, TODAY)
        assert len(pacs.queries) == asked, "the PACS is not asked for all that it has"
    assert summary.as_dict() == {"window_key": "cohort/lung/ct", "known": 2, "pacs_was_asked": False}
    assert expected(database, "cohort/lung/ct") == {one.SOPInstanceUID for one in ct}


def test_dates_that_exclude_each_other_have_no_window() -> None:
    with pytest.raises(CohortError, match="exclude each other"):
        window_of_filter("lung", "x", parse_text("all: [study_date: {year: 2020}, study_date: {year: 2021}]"), TODAY)
