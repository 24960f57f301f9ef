"""Frozen versions: their members, that they never change, what differs between two, and pages of them."""

from __future__ import annotations

from typing import Any

import psycopg2.errors
import pytest

from sluice.cohorts.difference import CAME, CHANGED, difference
from sluice.cohorts.errors import CohortError
from sluice.cohorts.freeze import Frozen, freeze
from sluice.cohorts.language import parse
from sluice.cohorts.preview import preview
from sluice.cohorts.versions import cohorts, members, studies, version, versions, wanted
from sluice.database import Database
from tests.cohorts.small import ROOT, TODAY, SmallHospital, chosen

NOT_HELD = {"not": {"quality": {"held": True}}}


@pytest.fixture
def small(database: Database) -> SmallHospital:
    return SmallHospital(database, seed=5, patients=9)


def frozen(database: Database, asked: Any, **more: Any) -> Frozen:
    return freeze(database, "lungs", parse(asked), "vera", "a study of lungs", today=TODAY, **more)


def all_members(database: Database, version_id: int) -> list[str]:
    found: list[str] = []
    page = members(database, version_id, limit=7)
    while True:
        found += [row["sop_instance_uid"] for row in page.rows]
        if page.after is None:
            return found
        page = members(database, version_id, page.after, limit=7)  # type: ignore[arg-type]


@pytest.mark.parametrize("asked", [{}, NOT_HELD, {"any": [{"instance_number": 1}, {"modality": "DX"}]}, {"rows": 1}])
def test_members_are_what_the_filter_selects(database: Database, small: SmallHospital, asked: dict[str, Any]) -> None:
    made = frozen(database, asked)
    listed = all_members(database, made.version_id)
    assert len(listed) == len(set(listed)) == made.instances
    assert set(listed) == chosen(asked, small.instances)
    here = preview(database, parse(asked), TODAY).here
    assert (made.patients, made.studies, made.series, made.instances, made.bytes) == tuple(vars(here).values())


def test_the_same_again_is_the_same_version_and_anything_else_the_next(
    database: Database, small: SmallHospital
) -> None:
    first = frozen(database, NOT_HELD)
    assert (first.version, first.is_new) == (1, True)
    again = frozen(database, {"all": [NOT_HELD]})
    assert (again.version_id, again.is_new) == (first.version_id, False)
    free = next(one for one in small.instances if not one["held"])
    database.execute(
        "insert into quality_finding (window_key, rule, severity, level, sop_instance_uid) "
        "values ('x', 'late', 'stop', 'instance', %s)",
        (free["sop_instance_uid"],),
    )
    second = frozen(database, NOT_HELD)
    assert (second.version, second.instances) == (2, first.instances - 1)
    assert free["sop_instance_uid"] in all_members(database, first.version_id)
    assert [row["version"] for row in versions(database, first.cohort_id)] == [2, 1]
    (cohort,) = cohorts(database, "")
    assert (cohort["name"], cohort["version"], cohorts(database, "other")) == ("lungs", 2, [])
    found = difference(database, first.version_id, second.version_id)
    assert (found.added, found.gone) == (0, 1)
    assert [(why.words, why.instances) for why in found.gone_why] == [("not (held by a quality rule)", 1)]


@pytest.mark.parametrize(
    ("table", "column"), [("cohort_version", "why"), ("cohort_member", "instances"), ("cohort_wanted", "instances")]
)
def test_a_version_never_changes(database: Database, small: SmallHospital, table: str, column: str) -> None:
    made = frozen(database, {})
    for statement in (f"update {table} set {column} = {column}", f"delete from {table}"):
        with pytest.raises(psycopg2.errors.RaiseException, match="never changed"):
            database.execute(statement)
    assert len(all_members(database, made.version_id)) == len(small.instances)


def test_only_what_the_project_may_see(database: Database, small: SmallHospital) -> None:
    made = frozen(database, {"instance_number": 1}, project="p", may_see=parse({"modality": "DX"}))
    assert set(all_members(database, made.version_id)) == chosen(
        {"instance_number": 1, "modality": "DX"}, small.instances
    )
    assert version(database, made.version_id)["limited_by"] == {"modality": {"is": "DX"}}
    assert version(database, made.version_id)["expression"] == {"instance_number": {"is": 1}}


def test_difference_tells_what_came_from_what_changed(database: Database, small: SmallHospital) -> None:
    first = frozen(database, {"modality": "CT"})
    second = frozen(database, {"modality": ["CT", "DX"], "rows": {"present": True}})
    found = difference(database, first.version_id, second.version_id)
    before, after = (
        chosen(asked, small.instances)
        for asked in ({"modality": "CT"}, {"modality": ["CT", "DX"], "rows": {"present": True}})
    )
    assert (found.added, found.gone) == (len(after - before), len(before - after))
    assert [(why.words, why.instances) for why in found.added_why] == [("modality is CT", len(after - before))]
    assert [(why.words, why.instances) for why in found.gone_why] == [("rows is present", len(before - after))]
    database.execute("update header_block set extracted_at = clock_timestamp()")
    assert [why.words for why in difference(database, first.version_id, second.version_id).added_why] == [CAME]
    database.execute("update series set modality = 'CT'")  # as a corrected header would
    back = difference(database, second.version_id, first.version_id)
    assert CHANGED in [why.words for why in back.gone_why]
    with pytest.raises(CohortError, match="no version 99"):
        difference(database, first.version_id, 99)


def test_pages_of_studies_and_of_what_is_wanted(database: Database, small: SmallHospital) -> None:
    database.execute(
        "insert into sweep_window (window_key, kind, starts_on, ends_on) values ('d', 'day', now(), now())"
    )
    for number in range(3):
        database.execute(
            "insert into found_study (pacs, study_instance_uid, window_key, answer) values ('main', %s, 'd', "
            """'{"00201208": {"vr": "IS", "Value": [5]}}')""",
            (f"{ROOT}.90{number}",),
        )
    made = frozen(database, {})
    assert (made.wanted_studies, made.wanted_instances) == (3, 15)
    first = wanted(database, made.version_id, limit=2)
    last = wanted(database, made.version_id, first.after, limit=2)  # type: ignore[arg-type]
    assert [row["study_instance_uid"] for row in (*first.rows, *last.rows)] == [f"{ROOT}.90{n}" for n in range(3)]
    assert last.after is None
    listed, page = [], studies(database, made.version_id, limit=3)
    while page.rows:
        listed += page.rows
        if page.after is None:
            break
        page = studies(database, made.version_id, page.after, limit=3)  # type: ignore[arg-type]
    assert {row["study_instance_uid"] for row in listed} == {one["study_instance_uid"] for one in small.instances}
    assert sum(row["instances"] for row in listed) == len(small.instances)


def test_who_and_why_are_asked_for(database: Database) -> None:
    with pytest.raises(CohortError, match="for a reason"):
        freeze(database, "lungs", parse({}), "vera", " ")
    assert cohorts(database) == []
