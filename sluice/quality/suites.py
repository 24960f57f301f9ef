"""The quality rules as a data engineer writes them: `suites/*.yaml`, checked when they are loaded."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

SUITES = Path(__file__).with_name("suites")

Severity = Literal["warn", "quarantine", "stop"]
Level = Literal["study", "series", "instance"]
LEVELS: tuple[Level, ...] = ("study", "series", "instance")
SEVERITIES: tuple[Severity, ...] = ("warn", "quarantine", "stop")


class QualityError(RuntimeError):
    """Quality cannot be checked; the message says which rule or file to repair."""


class Rule(BaseModel):
    """One rule.

    Attributes:
        name: what findings and pages call it, e.g. `study-with-two-patients`.
        level: what one row is: a study, a series or an instance (the columns of `sql/queries/quality_<level>.sql`).
        severity: `warn` is recorded; `quarantine` says the object should not be used before it is repaired; `stop`
            holds the object (instance, series or study, as the level says) back from every release.
        expectation: type of a Great Expectations expectation about rows, e.g. `expect_column_values_to_be_between`.
        kwargs: its arguments.
        where: only rows for which this condition holds, in the syntax of `pandas.DataFrame.query`.
        why: what goes wrong when the rule is broken.
        advice: what a person does about it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{2,60}$")
    level: Level
    severity: Severity
    expectation: str = Field(pattern=r"^expect_[a-z_]+$")
    kwargs: dict[str, Any]
    where: str | None = None
    why: str = Field(min_length=10)
    advice: str = Field(min_length=5)

    @model_validator(mode="after")
    def _speaks_of_rows(self) -> Self:
        if not self.columns:
            raise ValueError("kwargs name no column: a rule must speak of rows, so that each failed row has a UID")
        reserved = {"row_condition", "condition_parser", "result_format", "meta", "notes"} & self.kwargs.keys()
        if reserved:
            raise ValueError(f"kwargs may not set {', '.join(sorted(reserved))}; use `where` and `why` instead")
        return self

    @property
    def columns(self) -> list[str]:
        """The columns it reads, in the order of its arguments."""
        named = [self.kwargs[key] for key in ("column", "column_A", "column_B") if key in self.kwargs]
        return [*named, *self.kwargs.get("column_list", [])]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    about: str
    rules: list[Rule]


class Suites(BaseModel):
    """All rules, with the version that findings refer to."""

    model_config = ConfigDict(frozen=True)

    version: str
    rules: tuple[Rule, ...]

    def of_level(self, level: Level) -> list[Rule]:
        """The rules about one level."""
        return [rule for rule in self.rules if rule.level == level]

    @property
    def by_name(self) -> Mapping[str, Rule]:
        """The rules by name."""
        return {rule.name: rule for rule in self.rules}


def load_suites(folder: Path = SUITES) -> Suites:
    """Read and check every `*.yaml` of a folder; the version is a digest of their text.

    Raises:
        QualityError: a file is not valid; the message names file, rule and field.
    """
    rules: dict[str, Rule] = {}
    digest = hashlib.sha256()
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise QualityError(f"There are no quality suites (*.yaml) in {folder}.")
    for path in files:
        text = path.read_bytes()
        digest.update(path.name.encode() + b"\0" + text + b"\0")
        for rule in _read(path, text).rules:
            if rule.name in rules:
                raise QualityError(
                    f"Two quality rules are called {rule.name!r} (the second in {path.name}). Rename one."
                )
            rules[rule.name] = rule
    return Suites(version=digest.hexdigest()[:12], rules=tuple(rules.values()))


def _read(path: Path, text: bytes) -> _File:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        problem = re.sub(r"\s+", " ", str(error))
        raise QualityError(f"Quality suite {path.name} is not valid YAML: {problem}") from error
    try:
        return _File.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        location = list(first["loc"])
        rule = ""
        if location[:1] == ["rules"] and len(location) > 1 and isinstance(location[1], int):
            given = content["rules"][location[1]]
            named = given.get("name") if isinstance(given, dict) else None
            rule = f", rule {named or location[1] + 1}"
        field = f", field {location[-1]}" if location and isinstance(location[-1], str) else ""
        raise QualityError(f"Quality suite {path.name}{rule}{field}: {first['msg']}.") from error
