from __future__ import annotations

import csv
import io
from datetime import date, timedelta
from typing import Any

import pytest

from sluice.database import Database
from sluice.ivc_filters.registry import (
    Correction,
    CorrectionError,
    correct,
    history,
    images,
    patient_of,
    patient_of_image,
    patients,
    write_csv,
)
from sluice.predictions import Prediction, register_model, store
from tests.ledger_rows import LedgerRows

MODEL = "ivc_filter-x-000000000000"
TODAY = date(2026, 10, 26)


class Wards:
    """Patients whose films were looked at on days before today."""

    def __init__(self, database: Database) -> None:
        self.database, self.rows, self.studies = database, LedgerRows(database), 0
        register_model(database, MODEL, "ivc_filter", "x", "0" * 64, {})

    def film(self, patient: str | None, days_ago: int, label: str = "present", score: float = 0.9) -> str:
        self.studies += 1
        when = TODAY - timedelta(days=days_ago)
        study = self.rows.study(self.studies, patient_id=patient, study_date=when)
        uid = self.rows.instance(self.rows.series(study, modality="DX"), 1)
        detail: dict[str, Any] = {"boxes": [{"box": [200, 100, 240, 180], "score": score}]}
        store(self.database, MODEL, "ivc_filter", [Prediction(uid, label, score, detail)])
        return uid

    def of(self, patient: str | None) -> dict[str, Any]:
        (row,) = [row for row in patients(self.database, today=TODAY) if row["patient_id"] == patient]
        return row

    def say(self, patient: str, kind: str, **more: Any) -> None:
        correct(self.database, Correction(patient_of(self.database, patient), kind, **more), "ada", TODAY)  # type: ignore[arg-type]


@pytest.fixture
def wards(database: Database) -> Wards:
    return Wards(database)


def test_first_and_last_seen_dwell_and_due_are_of_the_patient(wards: Wards) -> None:
    for days_ago in (90, 60, 10):
        wards.film("A", days_ago)
    wards.film("B", 20)
    wards.film("C", 5, "absent")
    row = wards.of("A")
    assert (row["state"], row["is_confirmed"], row["images"], row["studies"]) == ("due", False, 3, 3)
    assert (row["first_seen"], row["last_seen"]) == (TODAY - timedelta(days=90), TODAY - timedelta(days=10))
    assert (row["dwell_days"], row["due_on"]) == (90, TODAY - timedelta(days=36))
    assert (wards.of("B")["state"], wards.of("B")["due_on"]) == ("dwelling", TODAY + timedelta(days=34))
    assert [row["patient_id"] for row in patients(wards.database, today=TODAY)] == ["A", "B"], "due first, C has none"


def test_what_people_say_counts_and_can_be_taken_back(wards: Wards) -> None:
    first, last = wards.film("A", 90), wards.film("A", 10)
    wards.say("A", "not_a_filter", sop_instance_uid=first)
    row = wards.of("A")
    assert (row["state"], row["first_seen"], row["rejected_images"]) == ("dwelling", TODAY - timedelta(days=10), 1)
    wards.say("A", "not_a_filter", sop_instance_uid=last)
    assert wards.of("A")["state"] == "rejected"
    wards.say("A", "withdrawn", sop_instance_uid=first)
    wards.say("A", "confirmed", sop_instance_uid=first, note="seen in the report")
    row = wards.of("A")
    assert (row["state"], row["is_confirmed"], row["images"]) == ("due", True, 1)
    assert [one["kind"] for one in history(wards.database, row["patient"])] == [
        "confirmed", "withdrawn", "not_a_filter", "not_a_filter",
    ]  # fmt: skip


def test_a_retrieval_ends_it_unless_it_is_seen_again(wards: Wards) -> None:
    wards.film("A", 90)
    wards.film("A", 5, "absent")
    assert wards.of("A")["without_since"] == TODAY - timedelta(days=5)
    wards.say("A", "retrieved", retrieved_on=TODAY - timedelta(days=30))
    assert (wards.of("A")["state"], wards.of("A")["dwell_days"]) == ("retrieved", 60)
    wards.film("A", 1)
    assert wards.of("A")["state"] == "seen after retrieval"
    wards.say("A", "withdrawn")
    assert wards.of("A")["state"] == "due"


def test_a_shadow_says_nothing_here_and_a_person_may_know_better_than_the_model(wards: Wards) -> None:
    wards.film("A", 90)
    shadow = "ivc_filter-y-111111111111"
    register_model(wards.database, shadow, "ivc_filter", "y", "1" * 64, {}, stage="shadow")
    quiet = wards.film("B", 3, "absent")
    store(wards.database, shadow, "ivc_filter", [Prediction(quiet, "present", 0.99, {"boxes": []})])
    assert [row["patient_id"] for row in patients(wards.database, today=TODAY)] == ["A"]
    said = Correction(patient_of_image(wards.database, quiet), "confirmed", quiet)
    correct(wards.database, said, "ada", TODAY)
    assert (wards.of("B")["state"], wards.of("B")["is_confirmed"]) == ("dwelling", True)


def test_a_study_without_patient_id_is_a_patient_of_its_own(wards: Wards) -> None:
    wards.film(None, 90)
    wards.film(None, 80)
    rows = patients(wards.database, today=TODAY)
    assert [row["studies"] for row in rows] == [1, 1]
    (shown,) = images(wards.database, rows[0]["patient"])
    assert shown["boxes"] == [{"box": [200, 100, 240, 180], "score": 0.9}]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"kind": "retrieved"}, "say on which day"),
        ({"kind": "confirmed", "retrieved_on": TODAY}, "nothing else, has a day"),
        ({"kind": "retrieved", "retrieved_on": TODAY + timedelta(days=1)}, "still to come"),
        ({"kind": "retrieved", "retrieved_on": TODAY - timedelta(days=91)}, "first seen on"),
        ({"kind": "not_a_filter"}, "Say of which image"),
        ({"kind": "not_a_filter", "sop_instance_uid": "1.2.3"}, "none of the patient's"),
    ],
)
def test_what_cannot_be_is_not_kept(wards: Wards, said: dict[str, Any], message: str) -> None:
    wards.film("A", 90)
    with pytest.raises(CorrectionError, match=message):
        wards.say("A", **said)
    assert not history(wards.database, patient_of(wards.database, "A"))


def test_the_report_is_inert_csv(wards: Wards) -> None:
    wards.film("=1+1", 90)
    out = io.StringIO()
    assert write_csv(patients(wards.database, "due", today=TODAY), out) == 1
    (line,) = csv.DictReader(io.StringIO(out.getvalue()))
    assert line["patient_id"] == "'=1+1"
    assert (line["dwell_days"], line["state"]) == ("90", "due")
