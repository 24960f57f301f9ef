"""Operators: what is asked of one value, by the kind of its field."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sluice.cohorts.errors import Fault, meant
from sluice.cohorts.fields import Kind

MOST_VALUES = 10_000
LONGEST = 1_024
_NO_TEXT = re.compile("[\x00\ud800-\udfff]").search  # no database holds these

Value = str | float | int | bool | date


@dataclass(frozen=True)
class Criterion:
    """One operator with its operands. Several of one condition all hold for the same value.

    Attributes:
        operator: `is`, `contains`, `starts_with`, `word`, `like`, `all_of`, `min`, `max`, `above`, `below`, `from`,
            `to`, `year`, `last_days`, `missing`.
        values: operands; where there are several, any of them does (but for `all_of`).
    """

    operator: str
    values: tuple[Value, ...]


class Reader:
    """Reads criteria and collects what is wrong with them."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults

    def fault(self, place: str, message: str) -> None:
        """Note a mistake."""
        self.faults.append(Fault(place, message))

    def criteria(self, kind: Kind, given: Any, place: str) -> tuple[Criterion, ...]:
        """What a condition asks, e.g. `CT`, `[CT, MR]` or `{min: 1, max: 5}`."""
        if not isinstance(given, Mapping):
            return self._plain(kind, given, place)
        if not given:
            self.fault(place, f"no operator: a {kind} takes {', '.join(OPERATORS[kind])}")
        read: list[Criterion] = []
        for name, operand in given.items():
            here = f"{place}.{name}"
            operator = OPERATORS[kind].get(name) if isinstance(name, str) else None
            if operator is None:
                known = OPERATORS[kind]
                self.fault(here, f"no operator of a {kind}; it takes {', '.join(known)}{meant(name, known)}")
                continue
            for criterion in operator(self, kind, operand, here):
                if any(one.operator == criterion.operator for one in read):
                    self.fault(here, f"says {criterion.operator} a second time")
                read.append(criterion)
        self._in_order(read, place)
        return tuple(sorted(read, key=lambda one: one.operator))

    def _in_order(self, read: list[Criterion], place: str) -> None:
        limits = {one.operator: one.values[0] for one in read}
        for low, high in (("min", "max"), ("from", "to")):
            if low in limits and high in limits and limits[low] > limits[high]:  # type: ignore[operator]  # of one kind
                self.fault(place, f"{low} is beyond {high}, so nothing would match")

    def _plain(self, kind: Kind, given: Any, place: str) -> tuple[Criterion, ...]:
        if kind is Kind.DATE:
            days = self.values(kind, given, place)
            if len(days) > 1:
                self.fault(place, "one day, or {from: …, to: …}")
            return (Criterion("from", days[:1]), Criterion("to", days[:1])) if days else ()
        values = self.values(kind, given, place)
        return (Criterion("contains" if kind is Kind.LIST else "is", values),) if values else ()

    def values(self, kind: Kind, given: Any, place: str) -> tuple[Value, ...]:
        """One or several operands of a kind, without repeats and in order."""
        items = given if isinstance(given, list | tuple) else [given]
        if not items:
            self.fault(place, "the list is empty, so nothing would match")
        if len(items) > MOST_VALUES:
            self.fault(place, f"{len(items)} values; at most {MOST_VALUES} are taken")
            return ()
        read: dict[Value, None] = {}
        for number, item in enumerate(items):
            value = self.value(kind, item, f"{place}[{number}]" if isinstance(given, list | tuple) else place)
            if value is not None:
                read[value] = None
        return tuple(sorted(read, key=lambda value: (str(type(value)), value)))

    def value(self, kind: Kind, given: Any, place: str) -> Value | None:
        """One operand; None, with a fault noted, where it is none."""
        match kind:
            case Kind.NUMBER:
                return self._number(given, place)
            case Kind.DATE:
                return self._date(given, place)
            case Kind.BOOLEAN:
                if isinstance(given, bool):
                    return given
                self.fault(place, f"true or false, not {_shown(given)}")
                return None
        if isinstance(given, bool | int | float | date):
            self.fault(place, f"a text, not {_shown(given)}. Write it in quotes")
        elif not isinstance(given, str) or not given.strip():
            self.fault(place, f"a text, not {_shown(given)}")
        elif len(given) > LONGEST:
            self.fault(place, f"a text of at most {LONGEST} characters")
        elif _NO_TEXT(given):
            self.fault(place, "a text without NUL and halves of characters (surrogates)")
        elif kind is Kind.UID:
            return self._uid(given.strip(), place)
        else:
            return given.strip()
        return None

    def _number(self, given: Any, place: str) -> float | int | None:
        if isinstance(given, bool) or not isinstance(given, int | float):
            self.fault(place, f"a number, not {_shown(given)}")
        elif not abs(given) <= 1e300:  # also no number at all
            self.fault(place, "a finite number")
        else:
            return int(given) if float(given).is_integer() and abs(given) < 2**53 else float(given)
        return None

    def _date(self, given: Any, place: str) -> date | None:
        if isinstance(given, datetime):
            given = given.date()
        if isinstance(given, date):
            return given
        if isinstance(given, str):
            try:
                return date.fromisoformat(given.strip())
            except ValueError:
                pass
        self.fault(place, f"a date like 2026-10-26, not {_shown(given)}")
        return None

    def _uid(self, given: str, place: str) -> str | None:
        if set(given) <= set("0123456789.") and len(given) <= 64:
            return given
        from pydicom._uid_dict import UID_dictionary

        names = {entry[0].casefold(): uid for uid, entry in UID_dictionary.items()}
        if given.casefold() in names:
            return names[given.casefold()]
        self.fault(place, f"a UID or the name of one{meant(given, [entry[0] for entry in UID_dictionary.values()])}")
        return None

    def several(self, kind: Kind, given: Any, place: str, name: str) -> list[Criterion]:
        """An operator with one or several operands, of which any does."""
        values = self.values(kind, given, place)
        return [Criterion(name, values)] if values else []

    def one(self, kind: Kind, given: Any, place: str, name: str) -> list[Criterion]:
        """An operator with one operand."""
        value = self.value(kind, given, place)
        return [] if value is None else [Criterion(name, (value,))]

    def between(self, kind: Kind, given: Any, place: str, first: str, last: str) -> list[Criterion]:
        """Two operands, both included."""
        words = "two dates, earliest first" if kind is Kind.DATE else "two numbers, lowest first"
        if not isinstance(given, list | tuple) or len(given) != 2:
            self.fault(place, words)
            return []
        low, high = (self.value(kind, item, f"{place}[{number}]") for number, item in enumerate(given))
        if low is None or high is None:
            return []
        if low > high:  # type: ignore[operator]  # both are of the same kind
            self.fault(place, words)
            return []
        return [Criterion(first, (low,)), Criterion(last, (high,))]

    def whole(self, given: Any, place: str, name: str, least: int, most: int) -> list[Criterion]:
        """An operator with one or several whole numbers in a range."""
        items = given if isinstance(given, list | tuple) else [given]
        if not items or any(
            isinstance(one, bool) or not isinstance(one, int) or not least <= one <= most for one in items
        ):
            self.fault(place, f"a whole number from {least} to {most}")
            return []
        return [Criterion(name, tuple(sorted(set(items))))]


Operator = Callable[[Reader, Kind, Any, str], list[Criterion]]


def _several(name: str) -> Operator:
    return lambda reader, kind, given, place: reader.several(kind, given, place, name)


def _one(name: str) -> Operator:
    return lambda reader, kind, given, place: reader.one(kind, given, place, name)


def _between(first: str, last: str) -> Operator:
    return lambda reader, kind, given, place: reader.between(kind, given, place, first, last)


def _missing(holds: bool) -> Operator:
    def read(reader: Reader, kind: Kind, given: Any, place: str) -> list[Criterion]:
        value = reader.value(Kind.BOOLEAN, given, place)
        return [] if value is None else [Criterion("missing", (value is holds,))]

    return read


def _year(reader: Reader, kind: Kind, given: Any, place: str) -> list[Criterion]:
    return reader.whole(given, place, "year", 1800, 9998)


def _last_days(reader: Reader, kind: Kind, given: Any, place: str) -> list[Criterion]:
    if isinstance(given, list | tuple):
        reader.fault(place, "one number of days")
        return []
    return reader.whole(given, place, "last_days", 1, 40_000)


_PRESENCE: dict[str, Operator] = {"missing": _missing(True), "present": _missing(False)}
_SAME: dict[str, Operator] = {"is": _several("is"), "one_of": _several("is")}
OPERATORS: dict[Kind, dict[str, Operator]] = {
    Kind.TEXT: {
        **_SAME,
        "contains": _several("contains"),
        "starts_with": _several("starts_with"),
        "word": _several("word"),
        "like": _several("like"),
        **_PRESENCE,
    },
    Kind.NUMBER: {
        **_SAME,
        "min": _one("min"),
        "max": _one("max"),
        "above": _one("above"),
        "below": _one("below"),
        "between": _between("min", "max"),
        **_PRESENCE,
    },
    Kind.DATE: {
        "from": _one("from"),
        "to": _one("to"),
        "between": _between("from", "to"),
        "year": _year,
        "last_days": _last_days,
        **_PRESENCE,
    },
    Kind.BOOLEAN: {"is": _one("is"), **_PRESENCE},
    Kind.LIST: {"contains": _several("contains"), "all_of": _several("all_of"), **_PRESENCE},
    Kind.UID: {**_SAME, **_PRESENCE},
    Kind.REGION: {**_SAME, **_PRESENCE},
}


def _shown(given: Any) -> str:
    """What stands there, without repeating much of it: it may name a patient."""
    if given is None:
        return "nothing"
    if isinstance(given, bool):
        return "true or false"
    if isinstance(given, str):
        return "a text" if given else "an empty text"
    names = ((Mapping, "a mapping"), (list | tuple, "a list"), (int | float, "a number"), (date, "a date"))
    return next((words for kind, words in names if isinstance(given, kind)), f"a {type(given).__name__}")
