"""A filter as a tree of typed conditions; `sluice.cohorts.language` reads and writes it.

The result of a filter is a set of instances. A condition is asked of one instance and of what it belongs to: its block,
series, study and patient. What is not known is not true, and `not` makes it true.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sluice.cohorts.criteria import Criterion
from sluice.cohorts.fields import Field, Level
from sluice.cohorts.tags import TagPath


@dataclass(frozen=True)
class AllOf:
    """All parts hold; without parts everything does."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class AnyOf:
    """At least one part holds."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class Not:
    """The part does not hold."""

    part: Expression


@dataclass(frozen=True)
class Holds:
    """The patient, study or series of the instance holds instances for which `part` is true.

    Attributes:
        level: whose instances are looked at: PATIENT, STUDY or SERIES.
        studies, series, instances: how many such there must be; none asked for means at least one instance.
        days_before: of a patient: days by which the other study was earlier than this one (negative: later).
    """

    level: Level
    part: Expression
    studies: tuple[Criterion, ...] = ()
    series: tuple[Criterion, ...] = ()
    instances: tuple[Criterion, ...] = ()
    days_before: tuple[Criterion, ...] = ()


@dataclass(frozen=True)
class FieldIs:
    """A field of the registry."""

    field: Field
    criteria: tuple[Criterion, ...]


@dataclass(frozen=True)
class TagIs:
    """An element of the header; where it has several values, one of them satisfies all criteria."""

    path: TagPath
    criteria: tuple[Criterion, ...]


@dataclass(frozen=True)
class RegionIs:
    """The body part, by one of the strategies."""

    by: str
    criteria: tuple[Criterion, ...]


@dataclass(frozen=True)
class QualityIs:
    """Whether quality rules hold the instance: any rule, or these, of these severities."""

    held: bool
    rules: tuple[str, ...] = ()
    severities: tuple[str, ...] = ()


@dataclass(frozen=True)
class PredictionIs:
    """What the newest prediction of a task says of the instance; `views` as the picture shows it, where surely."""

    task: str
    labels: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    score: tuple[Criterion, ...] = ()
    views: tuple[str, ...] = ()


Condition = FieldIs | TagIs | RegionIs | QualityIs | PredictionIs
Expression = AllOf | AnyOf | Not | Holds | Condition


def walk(expression: Expression) -> Iterator[Expression]:
    """The expression and all that stands in it."""
    yield expression
    match expression:
        case AllOf(parts) | AnyOf(parts):
            for part in parts:
                yield from walk(part)
        case Not(part) | Holds(part=part):
            yield from walk(part)


def sensitive_names(expression: Expression) -> list[str]:
    """Fields and elements in it that identify patients."""
    found: dict[str, None] = {}
    for part in walk(expression):
        match part:
            case FieldIs(field) if field.sensitive:
                found[field.name] = None
            case TagIs(path) if path.sensitive:
                found[path.name] = None
    return list(found)
