"""What of a filter the PACS is asked for: never less than the filter takes."""

from __future__ import annotations

from datetime import date

import pytest

from sluice.cohorts.asking import Asked, asked_of_pacs
from sluice.cohorts.language import parse_text

TODAY = date(2026, 11, 26)
OCTOBER = (date(2026, 10, 1), date(2026, 10, 31))
RANGE = "study_date: {from: 2026-10-01, to: 2026-10-31}"


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("{}", Asked()),
        (RANGE, Asked(*OCTOBER)),
        ("study_date: 2026-10-26", Asked(date(2026, 10, 26), date(2026, 10, 26))),
        ("study_date: {year: [2024, 2026]}", Asked(date(2024, 1, 1), date(2026, 12, 31))),
        ("study_date: {last_days: 10}", Asked(date(2026, 11, 16), TODAY)),
        ("study_date: {from: 2026-10-01}", Asked(date(2026, 10, 1))),
        ("study_date: {missing: true}", Asked()),
        (f"{RANGE}\nmodality: [ct, MR]\nstudy_description: {{contains: [thorax, chest]}}\nage: {{min: 18}}",
         Asked(*OCTOBER, ("CT", "MR"), ("chest", "thorax"))),
        ("any: [{modality: CT}, {modality: MR}]", Asked(modalities=("CT", "MR"))),
        ("any: [{modality: CT}, {age: {min: 1}}]", Asked()),
        ("not: {modality: CT}", Asked()),
        ("modality: {starts_with: C}", Asked()),
        ("study_description: {like: 'th*x'}", Asked()),
        ("study_has: {modality: PT}\nmodality: CT", Asked(modalities=("PT",))),
        ("patient_has: {modality: PT}", Asked()),
        ("any:\n - study_date: {year: 2020}\n   modality: CT\n - study_date: {year: 2026}\n   modality: MR",
         Asked(date(2020, 1, 1), date(2026, 12, 31), ("CT", "MR"))),
    ],
)  # fmt: skip
def test_dates_modalities_and_words_are_asked(text: str, asked: Asked) -> None:
    assert asked_of_pacs(parse_text(text), TODAY) == asked


def test_dates_that_exclude_each_other_are_said() -> None:
    assert asked_of_pacs(parse_text("all: [study_date: {year: 2020}, study_date: {year: 2021}]"), TODAY).is_impossible
    found = asked_of_pacs(
        parse_text("any: [{all: [study_date: {year: 2020}, study_date: {year: 2021}]}, {modality: CT}]"), TODAY
    )
    assert found == Asked(modalities=("CT",))
