"""The quality rules as a data engineer writes them: `suites/*.yaml`, and a hospital's own folder over them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sluice.cohorts import plain_yaml
from sluice.cohorts.tags import identifies
from sluice.headers.paths import ElementPath

SUITES = Path(__file__).with_name("suites")

Severity = Literal["warn", "quarantine", "stop"]
Level = Literal["window", "study", "series", "instance", "scanner"]
LEVELS: tuple[Level, ...] = ("window", "study", "series", "instance", "scanner")
SEVERITIES: tuple[Severity, ...] = ("warn", "quarantine", "stop")


class QualityError(RuntimeError):
    """Quality cannot be checked; the message says which rule or file to repair."""


class Applies(BaseModel):
    """Which scanners a rule is for. Each field is a glob or a list of them, compared without regard to case.

    Attributes:
        manufacturer: Manufacturer (0008,0070), e.g. `*philips*`.
        model: Manufacturer's Model Name (0008,1090).
        software: Software Versions (0018,1020), several joined by a backslash.
        modality: Modality (0008,0060).
        station: Station Name (0008,1010).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    manufacturer: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    software: tuple[str, ...] = ()
    modality: tuple[str, ...] = ()
    station: tuple[str, ...] = ()

    @field_validator("*", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not any(getattr(self, name) for name in APPLIES_TO):
            raise ValueError(f"says nothing; name one of {', '.join(APPLIES_TO)}")
        return self

    def matches(self, scanner: Mapping[str, Any]) -> bool:
        """Whether a row's scanner, by the columns of `APPLIES_TO`, is one of these; what is empty matches `*` only."""
        return all(
            any(fnmatchcase(str(scanner[column] or "").strip().lower(), glob.lower()) for glob in globs)
            for name, column in APPLIES_TO.items()
            if (globs := getattr(self, name))
        )


# Field of `for` -> column of the frames of levels series, instance and scanner.
APPLIES_TO: Mapping[str, str] = {
    "manufacturer": "manufacturer",
    "model": "model_name",
    "software": "software_versions",
    "modality": "modality",
    "station": "station_name",
}


class Tag(BaseModel):
    """A header element that becomes a column of level instance.

    Attributes:
        tag: e.g. `(0018,0060)`, `KVP`, or a private one with its creator, `0043,"GEMS_PARM_01",39`; a path
            `(0040,0275)/(0040,0007)` goes through the first items of sequences (`sluice.headers.paths`).
        kind: what of it: its first value as a `number` or `text`, whether it is `present`, the `count` of its values.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    tag: str
    kind: Literal["number", "text", "present", "count"] = Field(alias="as")

    @field_validator("tag")
    @classmethod
    def _is_path(cls, value: str) -> str:
        return str(ElementPath.of(value))

    @cached_property
    def path(self) -> ElementPath:
        """Where it stands."""
        return ElementPath.of(self.tag)

    @property
    def names_somebody(self) -> bool:
        """Whether its column holds what may identify a person; of a private one nobody knows."""
        is_value = self.kind in ("text", "number")
        return is_value and any(not step.is_private and identifies(step.hex) for step in self.path.steps)


class Rule(BaseModel):
    """One rule.

    Attributes:
        name: what findings and pages call it, e.g. `study-with-two-patients`.
        level: what one row is: the window, a study, a series, an instance, or a scanner's day; `sluice quality columns`
            names the columns of each.
        severity: `warn` is recorded; `quarantine` holds the object (instance, series or study) back from cohorts and
            releases until it is repaired or a person accepts it; `stop` does the same and is counted as what a person
            has to look at.
        halts: with level window and severity stop: the whole window is held, and its run fails, until then.
        expectation: type of a Great Expectations expectation about rows, e.g. `expect_column_values_to_be_between`.
        kwargs: its arguments.
        where: only rows for which this condition holds, in the syntax of `pandas.DataFrame.query`.
        applies: only rows of these scanners; written `for`.
        select: only objects that this filter names, as a cohort's is written (docs/cohorts.md).
        why: what goes wrong when the rule is broken.
        advice: what a person does about it.
        enabled: a hospital's `false` switches a rule off that ships.
        suite: file that it stands in.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{2,60}$")
    level: Level
    severity: Severity
    halts: bool = False
    expectation: str = Field(pattern=r"^expect_[a-z_]+$")
    kwargs: dict[str, Any]
    where: str | None = None
    applies: Applies | None = Field(default=None, alias="for")
    select: dict[str, Any] | None = None
    why: str = Field(min_length=10)
    advice: str = Field(min_length=5)
    enabled: bool = True
    suite: str = ""

    @model_validator(mode="after")
    def _speaks_of_rows(self) -> Self:
        if not self.columns:
            raise ValueError("kwargs name no column: a rule must speak of rows, so that each failed row has a UID")
        reserved = {"row_condition", "condition_parser", "result_format", "meta", "notes"} & self.kwargs.keys()
        if reserved:
            raise ValueError(f"kwargs may not set {', '.join(sorted(reserved))}; use `where` and `why` instead")
        return self

    @model_validator(mode="after")
    def _can_do_what_it_says(self) -> Self:
        if self.halts and (self.level, self.severity) != ("window", "stop"):
            raise ValueError("only a rule of level window and severity stop can be marked `halts`")
        if self.level == "window" and self.severity != "warn" and not self.halts:
            raise ValueError("a rule of level window is a warn, or a stop with `halts: true`")
        if self.level == "scanner" and self.severity != "warn":
            raise ValueError("a rule of level scanner is a warn: a scanner's day cannot be held, its objects can")
        if self.select is not None and self.level in ("window", "scanner"):
            raise ValueError(f"`select` does not go with level {self.level}: a filter names studies, series, instances")
        if self.applies and self.level in ("window", "study"):
            raise ValueError(f"`for` does not go with level {self.level}, whose rows may be of several scanners")
        return self

    @property
    def columns(self) -> list[str]:
        """The columns it reads, in the order of its arguments."""
        named = [self.kwargs[key] for key in ("column", "column_A", "column_B") if key in self.kwargs]
        return [*named, *self.kwargs.get("column_list", [])]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    about: str
    tags: dict[str, Tag] = {}
    rules: list[dict[str, Any]]

    @field_validator("tags")
    @classmethod
    def _are_names(cls, value: dict[str, Tag]) -> dict[str, Tag]:
        for name in value:
            if not re.fullmatch(r"[a-z][a-z0-9_]{1,60}", name):
                raise ValueError(f"{name!r} is no name of a column: use lower case letters, digits and _")
        return value


class Suites(BaseModel):
    """All rules that are switched on, with the version that findings refer to."""

    model_config = ConfigDict(frozen=True)

    version: str
    rules: tuple[Rule, ...]
    tags: dict[str, Tag] = {}

    def of_level(self, level: Level) -> list[Rule]:
        """The rules about one level."""
        return [rule for rule in self.rules if rule.level == level]

    @property
    def by_name(self) -> Mapping[str, Rule]:
        """The rules by name."""
        return {rule.name: rule for rule in self.rules}


def load_suites(folder: Path = SUITES, site: Path | None = None) -> Suites:
    """Read and check every `*.yaml` of a folder, and of a site's own over it; the version is a digest of their text.

    A site's rule of a name that ships replaces the fields it gives: `{name: rows-missing, severity: warn}` changes the
    severity, `enabled: false` switches the rule off.

    Raises:
        QualityError: a file is not valid; the message names file, rule and field.
    """
    digest = hashlib.sha256()
    tags: dict[str, Tag] = {}
    given: dict[str, tuple[dict[str, Any], Path]] = {}
    for shipped, each in ((True, folder), (False, site)):
        if each is None:
            continue
        seen: set[str] = set()
        for path, text in _files(each):
            digest.update(path.name.encode() + b"\0" + text + b"\0")
            content = _read(path, text)
            for name, tag in content.tags.items():
                if tags.setdefault(name, tag) != tag:
                    raise QualityError(
                        f"Quality suite {path.name}: column {name!r} is another tag elsewhere. Rename it."
                    )
            for number, rule in enumerate(content.rules, 1):
                name = str(rule.get("name", f"number {number}"))
                if name in seen:
                    raise QualityError(
                        f"Two quality rules are called {name!r} (the second in {path.name}). Rename one."
                    )
                seen.add(name)
                before = {} if shipped else given.get(name, ({}, path))[0]
                given[name] = (before | rule, path)
    rules = [_rule(name, rule, path) for name, (rule, path) in given.items()]
    return Suites(version=digest.hexdigest()[:12], rules=tuple(rule for rule in rules if rule.enabled), tags=tags)


def _files(folder: Path) -> Iterator[tuple[Path, bytes]]:
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise QualityError(f"There are no quality suites (*.yaml) in {folder}.")
    for path in files:
        yield path, path.read_bytes()


def _read(path: Path, text: bytes) -> _File:
    try:
        content = plain_yaml.load(text.decode())
    except (yaml.YAMLError, ValueError) as error:
        problem = re.sub(r"\s+", " ", str(error))
        raise QualityError(f"Quality suite {path.name} is not valid YAML: {problem}") from error
    try:
        return _File.model_validate(content)
    except ValidationError as error:
        raise QualityError(f"Quality suite {path.name}{_said(error)}") from error


def _rule(name: str, given: dict[str, Any], path: Path) -> Rule:
    try:
        return Rule.model_validate(given | {"suite": path.name})
    except ValidationError as error:
        raise QualityError(f"Quality suite {path.name}, rule {name}{_said(error)}") from error


def _said(error: ValidationError) -> str:
    first = error.errors()[0]
    field = f", field {'.'.join(str(part) for part in first['loc'])}" if first["loc"] else ""
    return f"{field}: {first['msg'].removeprefix('Value error, ')}."
