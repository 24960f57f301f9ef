"""What `sluice quality` prints: the rules, the columns that they can read, and whether a folder of suites works."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from sluice.quality.columns import columns_of
from sluice.quality.suites import LEVELS, SEVERITIES, SUITES, Level, Rule, Suites, load_suites


def try_suites(site: Path) -> Suites:
    """Load a hospital's own suites over those that ship and try every rule on a made-up row of its level.

    Raises:
        QualityError: a rule cannot work; the message names it.
    """
    from sluice.quality.evaluation import Evaluation
    from sluice.quality.frames import sample
    from sluice.quality.selecting import nothing

    suites = load_suites(SUITES, site)
    for level in LEVELS:
        evaluation = Evaluation(level, suites, nothing)
        for _ in evaluation.check(sample(level, suites)):
            pass
    return suites


def changed_by(site: Path) -> Iterator[str]:
    """A line for each rule that a hospital's own suites add, change or switch off."""
    shipped, own = load_suites().by_name, load_suites(SUITES, site).by_name
    for name, rule in own.items():
        before = shipped.get(name)
        if before is None:
            yield f"new      {name} ({rule.level}, {rule.severity})"
        elif before.severity != rule.severity:
            yield f"changed  {name}: {before.severity} -> {rule.severity}"
        elif before.model_dump(exclude={"suite"}) != rule.model_dump(exclude={"suite"}):
            yield f"changed  {name}"
    yield from (f"off      {name}" for name in shipped if name not in own)


def rule_lines(rules: Sequence[Rule]) -> Iterator[str]:
    """The rules level by level, worst severity first."""
    for level in LEVELS:
        of_level = [rule for rule in rules if rule.level == level]
        if of_level:
            yield f"{level.upper()} ({len(of_level)})"
        for rule in sorted(of_level, key=lambda rule: (-SEVERITIES.index(rule.severity), rule.name)):
            yield f"  {rule.severity:<10} {rule.name:<38} {rule.suite}{', halts' if rule.halts else ''}"


def rules_json(suites: Suites) -> str:
    """All rules with their version, as JSON."""
    rules = [rule.model_dump(by_alias=True, exclude_none=True) for rule in suites.rules]
    return json.dumps({"version": suites.version, "rules": rules}, indent=2)


def column_lines(suites: Suites, levels: Sequence[Level]) -> Iterator[str]:
    """The columns of some levels with their kinds and what they hold."""
    for level in levels:
        yield level.upper()
        for name, column in columns_of(level, suites.tags).items():
            yield f"  {name:<34} {column.kind:<7} {column.words}"
