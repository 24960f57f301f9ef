"""A filter in plain English, so that whoever approves a cohort reads what it asks."""

from __future__ import annotations

from collections.abc import Iterable

from sluice.cohorts.criteria import Criterion, Value
from sluice.cohorts.expressions import (
    AllOf,
    AnyOf,
    Expression,
    FieldIs,
    Holds,
    Not,
    PredictionIs,
    QualityIs,
    RegionIs,
    TagIs,
)
from sluice.cohorts.fields import Level

VALUES_SAID = 8


def describe(expression: Expression) -> str:
    """One sentence, e.g. `Instances where modality is CT or MR, and study date is from 2026-01-01.`"""
    if expression == AllOf(()):
        return "All instances."
    return f"Instances where {_said(expression, top=True)}."


def conditions(expression: Expression) -> list[str]:
    """The conditions that all have to hold, one text each; one text where the filter is no plain list of them."""
    parts = expression.parts if isinstance(expression, AllOf) else (expression,)
    return [_said(part, top=True) for part in parts]


def _said(expression: Expression, top: bool = False) -> str:
    match expression:
        case AllOf(()):
            return "anything"
        case AllOf(parts):
            return _joined([_said(part) for part in parts], "and", top)
        case AnyOf(parts):
            return _joined([_said(part) for part in parts], "or", top)
        case Not(part):
            return f"not ({_said(part, top=True)})"
        case Holds():
            return _held(expression)
        case FieldIs(field, criteria):
            unit = f" {field.unit}" if field.unit else ""
            return f"{field.name.replace('_', ' ')} {_asked(criteria, unit)}"
        case TagIs(path, criteria):
            return f"{path.name} {_asked(criteria)}"
        case RegionIs(by, criteria):
            return f"body part ({by}) {_asked(criteria)}"
        case QualityIs(held, rules, severities):
            named = f" the rule {_any(rules)}" if rules else " a quality rule"
            severe = f" of severity {_any(severities)}" if severities else ""
            return f"held by{named}{severe}" if held else f"not held by{named}{severe}"
        case PredictionIs(task, labels, models, score, views):
            says = f" {_any(labels)}" if labels else " anything"
            sure = f" with a score that {_asked(score)}" if score else ""
            seen = f" and the view {_any(views)}" if views else ""
            return f"the prediction {task}{f' of {_any(models)}' if models else ''} says{says}{seen}{sure}"


def _held(holds: Holds) -> str:
    counts = [
        f"the number of {name} {_asked(criteria)}"
        for name, criteria in (("studies", holds.studies), ("series", holds.series), ("instances", holds.instances))
        if criteria
    ]
    relation = ""
    if holds.days_before:
        relation = f" in a study earlier than this one by days that number {_asked(holds.days_before)}"
    what = f"instances where {_said(holds.part, top=True)}" if holds.part != AllOf(()) else "instances"
    of = {Level.PATIENT: "its patient", Level.STUDY: "its study", Level.SERIES: "its series"}[holds.level]
    return f"{of} has {what}{relation}" + (f", of which {' and '.join(counts)}" if counts else "")


def _asked(criteria: Iterable[Criterion], unit: str = "") -> str:
    asked = {one.operator: one.values for one in criteria}
    said: list[str] = []
    for low, high, between, least, most in (
        ("min", "max", "is from {} to {}", "is at least {}", "is at most {}"),
        ("from", "to", "is from {} to {}", "is from {} on", "is until {}"),
    ):
        if low in asked and high in asked:
            first, last = asked.pop(low)[0], asked.pop(high)[0]
            said.append((f"is {first}" if first == last else between.format(first, last)) + unit)
        elif low in asked:
            said.append(least.format(asked.pop(low)[0]) + unit)
        elif high in asked:
            said.append(most.format(asked.pop(high)[0]) + unit)
    words = {
        "is": "is {}",
        "contains": "contains {}",
        "all_of": "contains all of {}",
        "starts_with": "starts with {}",
        "word": "has the word {}",
        "like": "looks like {}",
        "above": "is above {}",
        "below": "is below {}",
        "year": "is in {}",
        "last_days": "is within the last {} days",
    }
    for operator, values in asked.items():
        if operator == "missing":
            said.append("is missing" if values[0] else "is present")
        else:
            said.append(words[operator].format(_any(values)) + unit)
    return " and ".join(said)


def _any(values: Iterable[Value]) -> str:
    texts = [("yes" if value else "no") if isinstance(value, bool) else str(value) for value in values]
    if len(texts) > VALUES_SAID:
        return f"{', '.join(texts[:VALUES_SAID])} or one of {len(texts) - VALUES_SAID} more"
    return f"{', '.join(texts[:-1])} or {texts[-1]}" if len(texts) > 1 else texts[0]


def _joined(said: list[str], word: str, top: bool) -> str:
    if len(said) == 1:
        return said[0]
    text = f", {word} ".join(said)
    return text if top else f"({text})"
