"""The filter language: read an expression from YAML or JSON, write it canonically, say it in English.

An expression is a mapping; several keys in one mapping all have to hold. See docs/cohorts.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from sluice.anatomy.strategies import Strategy, parts
from sluice.cohorts.criteria import OPERATORS, Criterion, Reader
from sluice.cohorts.errors import ExpressionError, Fault, meant
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
    sensitive_names,
)
from sluice.cohorts.fields import REGISTRY, Kind, Level, Registry
from sluice.cohorts.plain_yaml import load
from sluice.cohorts.tags import read_path
from sluice.headers.paths import looks_like_path

DEEPEST = 16
MOST_PARTS = 500
MOST_BYTES = 2_000_000
HOLDS = {"has": Level.STUDY, "study_has": Level.STUDY, "series_has": Level.SERIES, "patient_has": Level.PATIENT}
COUNTS = {
    Level.SERIES: ("instances",),
    Level.STUDY: ("series", "instances"),
    Level.PATIENT: ("studies", "series", "instances", "days_before"),
}
SEVERITIES = ("warn", "quarantine", "stop")
READ_VIEWS = ("AP", "PA", "LATERAL")


def parse(given: Any, registry: Registry = REGISTRY, place: str = "", sensitive: bool = True) -> Expression:
    """An expression from what YAML or JSON gave.

    Args:
        place: name of what is read, in front of the places that errors name.
        sensitive: whether who asks may filter by what identifies patients.

    Raises:
        ExpressionError: it does not type-check, is too deep or too large, or names what the caller may not see.
    """
    reading = _Reading(registry)
    if given is None:
        raise ExpressionError([Fault(place, "the expression is empty; write {} where everything is meant")])
    expression = reading.expression(given, place, 0)
    if not reading.faults and not sensitive:
        for name in sensitive_names(expression):
            reading.fault(place, f"{name} identifies patients, and you may not filter by it")
    if reading.faults:
        raise ExpressionError(reading.faults)
    return expression


def parse_text(text: str, registry: Registry = REGISTRY, sensitive: bool = True) -> Expression:
    """An expression from YAML or JSON text.

    Raises:
        ExpressionError: as `parse`, or it is no YAML.
    """
    if len(text) > MOST_BYTES:
        raise ExpressionError([Fault("", f"the expression is longer than {MOST_BYTES} characters")])
    try:
        given = load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ExpressionError(
            [Fault(at, f"no YAML: {getattr(error, 'problem', None) or 'it cannot be read'}")]
        ) from None
    except ValueError:  # a date like 2026-13-01
        raise ExpressionError([Fault("", "no YAML: a value in it, like a date, is impossible")]) from None
    return parse(given, registry, sensitive=sensitive)


def parse_file(path: Path, registry: Registry = REGISTRY, sensitive: bool = True) -> Expression:
    """An expression from a file of YAML or JSON.

    Raises:
        ExpressionError: as `parse_text`.
        OSError: the file cannot be read.
    """
    try:
        return parse_text(path.read_text(encoding="utf-8"), registry, sensitive)
    except UnicodeDecodeError:
        raise ExpressionError([Fault("", f"{path.name} is no UTF-8 text")]) from None


class _Reading(Reader):
    """One expression being read."""

    def __init__(self, registry: Registry) -> None:
        super().__init__([])
        self._registry = registry
        self._parts = 0
        self.special: dict[str, Callable[[Any, str, int], Expression | None]] = {
            "all": lambda given, place, depth: AllOf(self._list(given, place, depth)),
            "any": self._any,
            "not": lambda given, place, depth: Not(self.expression(given, place, depth + 1)),
            "quality": lambda given, place, depth: self._quality(given, place),
            "prediction": lambda given, place, depth: self._prediction(given, place),
            "body_part": lambda given, place, depth: self._region(given, place),
            "text_label": lambda given, place, depth: self._no_labels(place),
        }

    def expression(self, given: Any, place: str, depth: int) -> Expression:
        """A mapping; everything in it has to hold."""
        self._parts += 1
        if depth > DEEPEST:
            self.fault(place, f"nested more than {DEEPEST} deep")
            return AllOf(())
        if self._parts > MOST_PARTS:
            if self._parts == MOST_PARTS + 1:
                self.fault(place, f"more than {MOST_PARTS} conditions; put values into lists")
            return AllOf(())
        if not isinstance(given, Mapping):
            self.fault(place, "a condition is a mapping, like {modality: CT}")
            return AllOf(())
        if "tag" in given:
            return self._tag(given, place) or AllOf(())
        parts = [part for key, value in given.items() if (part := self._keyed(key, value, place, depth)) is not None]
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _keyed(self, key: Any, given: Any, place: str, depth: int) -> Expression | None:
        here = f"{place}.{key}" if place else str(key)
        if not isinstance(key, str):
            self.fault(place, f"a field is named by a text; write {key!r} in quotes")
        elif key in self.special:
            return self.special[key](given, here, depth)
        elif key in HOLDS:
            return self._holds(HOLDS[key], given, here, depth)
        elif (field := self._registry.fields.get(key)) is not None:
            return FieldIs(field, self.criteria(field.kind, given, here))
        elif looks_like_path(key):
            path = read_path(self, key, here)
            return TagIs(path, self.criteria(path.kind, given, here)) if path else None
        else:
            known = [*self._registry.fields, *self.special, *HOLDS, "tag"]
            self.fault(
                here[:200], f"there is no such field{meant(key, known) or '; `sluice cohort fields` lists them'}"
            )
        return None

    def _list(self, given: Any, place: str, depth: int) -> tuple[Expression, ...]:
        if not isinstance(given, list | tuple):
            self.fault(place, "a list of conditions, each like {modality: CT}")
            return ()
        return tuple(self.expression(item, f"{place}[{number}]", depth + 1) for number, item in enumerate(given))

    def _any(self, given: Any, place: str, depth: int) -> Expression:
        parts = self._list(given, place, depth)
        if not parts and isinstance(given, list | tuple):
            self.fault(place, "the list is empty, so nothing would match")
        return AnyOf(parts)

    def _holds(self, level: Level, given: Any, place: str, depth: int) -> Expression:
        if not isinstance(given, Mapping):
            self.fault(place, "a condition is a mapping, like {modality: CT}")
            return AllOf(())
        counts: dict[str, tuple[Criterion, ...]] = {}
        for name in COUNTS[level]:
            if name in given:
                counts[name] = self.criteria(Kind.NUMBER, given[name], f"{place}.{name}")
                if any(criterion.operator == "missing" for criterion in counts[name]):
                    self.fault(f"{place}.{name}", "a number is never missing here; use min, max or between")
        inner = {key: value for key, value in given.items() if key not in counts}
        return Holds(level, self.expression(inner, place, depth + 1), **counts)

    def _tag(self, given: Mapping[Any, Any], place: str) -> Expression | None:
        here = f"{place}.tag" if place else "tag"
        path = read_path(self, given["tag"], here, given.get("creator"), given.get("vr"))
        if path is None:
            return None
        asked = {key: value for key, value in given.items() if key not in ("tag", "creator", "vr")}
        if not asked:
            self.fault(here, "say what is asked of it, like min: 30, is: AXIAL or present: true")
            return None
        if isinstance(asked.get("is"), Mapping) or set(asked) == {"is"}:
            inner = asked.pop("is")
            if asked:
                self.fault(place, f"beside `is: {{…}}` there can be nothing else: {', '.join(map(str, asked))[:100]}")
            return TagIs(path, self.criteria(path.kind, inner, f"{place}.is" if place else "is"))
        return TagIs(path, self.criteria(path.kind, asked, place or "tag"))

    def _region(self, given: Any, place: str) -> Expression | None:
        by = "header"
        if isinstance(given, Mapping):
            by = given.get("by", by)
            given = {key: value for key, value in given.items() if key != "by"}
        if by not in list(Strategy):
            self.fault(f"{place}.by", f"one of {', '.join(Strategy)}{meant(by, Strategy)}")
            return None
        known, read = parts(), list[Criterion]()
        for criterion in self.criteria(Kind.REGION, given, place):
            if criterion.operator == "is":
                names = {str(value): value if value in known else str(value).upper() for value in criterion.values}
                for value, name in names.items():
                    if name not in known:
                        self.fault(place, f"no body part {value[:64]!r}{meant(value, known)}")
                criterion = Criterion("is", tuple(sorted(set(names.values()))))
            elif by != Strategy.HEADER:
                self.fault(place, "only by header is a body part missing or present")
            read.append(criterion)
        return RegionIs(by, tuple(read))

    def _quality(self, given: Any, place: str) -> Expression | None:
        if not isinstance(given, Mapping) or not given:
            self.fault(place, "a mapping like {held: true}, with rule or severity where certain ones are meant")
            return None
        self._only(given, ("held", "rule", "severity"), place)
        held = self.value(Kind.BOOLEAN, given.get("held", True), f"{place}.held")
        rules = self._texts(given, "rule", place)
        severities = self._texts(given, "severity", place)
        for severity in severities:
            if severity not in SEVERITIES:
                self.fault(f"{place}.severity", f"one of {', '.join(SEVERITIES)}{meant(severity, SEVERITIES)}")
        return QualityIs(held is True, rules, severities)

    def _prediction(self, given: Any, place: str) -> Expression | None:
        if not isinstance(given, Mapping) or "task" not in given:
            self.fault(place, "a mapping like {task: ivc_filter, label: present, score: {min: 0.9}}")
            return None
        self._only(given, ("task", "label", "model", "score", "view"), place)
        task = self.value(Kind.TEXT, given["task"], f"{place}.task")
        labels, models = self._texts(given, "label", place), self._texts(given, "model", place)
        score = self.criteria(Kind.NUMBER, given["score"], f"{place}.score") if "score" in given else ()
        views = self._texts(given, "view", place)
        for view in views:
            if view not in READ_VIEWS:
                self.fault(f"{place}.view", f"one of {', '.join(READ_VIEWS)}{meant(view, READ_VIEWS)}")
        return PredictionIs(str(task), labels, models, score, views)

    def _texts(self, given: Mapping[Any, Any], name: str, place: str) -> tuple[str, ...]:
        if name not in given:
            return ()
        return tuple(str(value) for value in self.values(Kind.TEXT, given[name], f"{place}.{name}"))

    def _only(self, given: Mapping[Any, Any], names: tuple[str, ...], place: str) -> None:
        for key in given:
            if key not in names:
                self.fault(f"{place}.{key}"[:200], f"only {', '.join(names)} can stand here{meant(key, names)}")

    def _no_labels(self, place: str) -> Expression | None:
        self.fault(place, "labels from reports are not read yet, so nothing can be filtered by them")
        return None


# What stands in an expression with a meaning of its own, so that no promoted column can have it as its name.
WORDS = frozenset((
    *_Reading(REGISTRY).special, *HOLDS, "tag", "creator", "vr", "by", "held", "rule", "severity", "task", "label",
    "model", "score", *REGISTRY.fields, *(name for names in COUNTS.values() for name in names),
    *(operator for operators in OPERATORS.values() for operator in operators),
))  # fmt: skip


def as_json(expression: Expression) -> dict[str, Any]:
    """The canonical form: JSON that `parse` reads as the same filter, whatever way the filter was written in."""
    match expression:
        case AllOf(parts):
            return _junction("all", parts)
        case AnyOf(parts):
            return _junction("any", parts)
        case Not(part):
            written = as_json(part)
            return written["not"] if set(written) == {"not"} else {"not": written}
        case Holds(level, part):
            inner = as_json(part)
            inner = {} if inner == {"all": []} else inner
            counts = {name: _asked(value) for name in COUNTS[level] if (value := getattr(expression, name))}
            return {f"{level.value}_has": ({"all": [inner]} if "tag" in inner else inner) | counts}
        case FieldIs(field, criteria):
            return {field.name: _asked(criteria)}
        case TagIs(path, criteria):
            of = {"creator": path.creator} if path.creator else {}
            of |= {"vr": path.vr} if path.creator or not path.is_known else {}
            return {"tag": path.written(), "is": _asked(criteria)} | of
        case RegionIs(by, criteria):
            return {"body_part": _asked(criteria) | {"by": by}}
        case QualityIs(held, rules, severities):
            said = {"rule": list(rules), "severity": list(severities)}
            return {"quality": {"held": held} | {name: values for name, values in said.items() if values}}
        case PredictionIs(task, labels, models, score, views):
            asked: dict[str, Any] = {"task": task, "label": list(labels), "model": list(models), "score": _asked(score)}
            asked["view"] = list(views)
            return {"prediction": {name: value for name, value in asked.items() if value}}


def _junction(key: str, parts: tuple[Expression, ...]) -> dict[str, Any]:
    """Nested ones of the same kind become one list; repeats go, and the order is that of their text."""
    flat: dict[str, dict[str, Any]] = {}
    for part in parts:
        written = as_json(part)
        for one in written[key] if set(written) == {key} else [written]:
            flat[json.dumps(one, sort_keys=True)] = one
    if len(flat) == 1:
        return next(iter(flat.values()))
    return {key: [flat[text] for text in sorted(flat)]}


def _asked(criteria: tuple[Criterion, ...]) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    for operator, values in ((one.operator, [_plain(value) for value in one.values]) for one in criteria):
        asked[operator] = values[0] if len(values) == 1 else values
    return asked


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


def digest(expression: Expression) -> str:
    """SHA-256 of the canonical form, hex; the same for every way of writing the same filter."""
    return hashlib.sha256(json.dumps(as_json(expression), sort_keys=True).encode()).hexdigest()
