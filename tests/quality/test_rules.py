"""Each rule that ships has a row that breaks it and one that does not. Evaluated by the library once a level."""

from __future__ import annotations

import zlib

import pytest

from sluice.quality.columns import KEYS
from sluice.quality.evaluation import Evaluation
from sluice.quality.frames import frame_of
from sluice.quality.suites import LEVELS, Level, load_suites
from tests.quality.cases import CASES, SOUND, Row

SUITES = load_suites()


@pytest.fixture(scope="module")
def broken() -> dict[str, set[str]]:
    """Row -> rules that it breaks, all rows of all rules evaluated together."""
    found: dict[str, set[str]] = {}
    for level in LEVELS:
        rows = [_row(level, "sound", {})]
        for rule in SUITES.of_level(level):
            needs, breaks, keeps = CASES.get(rule.name, ({}, {}, {}))
            rows += [
                _row(level, f"{rule.name} broken", needs | breaks),
                _row(level, f"{rule.name} kept", needs | keeps),
            ]
        keys = {row[KEYS[level]]: row["row"] for row in rows}
        assert len(keys) == len(rows)
        found |= {row["row"]: set() for row in rows}
        for finding in Evaluation(level, SUITES).check(frame_of(level, rows, SUITES)):
            found[keys[finding.object]].add(finding.rule.name)
    return found


def _row(level: Level, name: str, changes: Row) -> Row:
    number = zlib.crc32(name.encode())
    uids = {"sop_instance_uid": f"1.2.{number}.1.{level.encode()[0]}", "series_instance_uid": f"1.2.{number}.2",
            "study_instance_uid": f"1.2.{number}.3"}  # fmt: skip
    key = {KEYS[level]: name} if level in ("window", "scanner") else {}
    return SOUND[level] | uids | key | changes | {"row": f"{level} {name}" if name == "sound" else name}


def test_a_sound_row_breaks_nothing(broken: dict[str, set[str]]) -> None:
    for level in LEVELS:
        assert broken[f"{level} sound"] == set()


@pytest.mark.parametrize("rule", [rule.name for rule in SUITES.rules])
def test_each_rule_is_broken_by_what_it_is_about_and_by_nothing_else(rule: str, broken: dict[str, set[str]]) -> None:
    assert rule in CASES, "a rule without a row that breaks it"
    assert rule in broken[f"{rule} broken"]
    assert rule not in broken[f"{rule} kept"]


def test_no_case_is_about_a_rule_that_there_is_not() -> None:
    assert set(CASES) == {rule.name for rule in SUITES.rules}
