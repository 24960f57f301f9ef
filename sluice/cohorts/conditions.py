"""SQL of what is asked of one value. Operands are always bound; the only text that varies is our own."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

from sluice.cohorts.criteria import Criterion
from sluice.cohorts.fields import Kind

_LIKE = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})
_WILDCARDS = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_", "*": "%", "?": "_"})


class Parameters:
    """Values of one statement, by the names under which it has them.

    Args:
        prefix: of the names.

    Attributes:
        values: what to run the statement with.
    """

    def __init__(self, prefix: str = "v") -> None:
        self._prefix = prefix
        self.values: dict[str, Any] = {}

    def next_name(self) -> str:
        """The name that the next value gets."""
        return f"{self._prefix}{len(self.values)}"

    def bind(self, value: Any, of: str = "") -> str:
        """A placeholder for a value, with a cast to the Postgres type `of` where one is named."""
        name = self.next_name()
        self.values[name] = value
        return f"%({name})s" + (f"::{of}" if of else "")


def asks(kind: Kind, value: str, criteria: Iterable[Criterion], today: date, bound: Parameters) -> str:
    """A condition that holds where `value`, an SQL expression of the kind, satisfies all criteria; NULL where the value
    is not known, but for `missing`."""
    return " and ".join(_asks(kind, value, criterion, today, bound) for criterion in criteria) or "true"


def _asks(kind: Kind, value: str, criterion: Criterion, today: date, bound: Parameters) -> str:
    if criterion.operator == "missing":
        return is_missing(kind, value) if criterion.values[0] else f"not {is_missing(kind, value)}"
    match kind:
        case Kind.TEXT:
            return text(value, criterion, bound)
        case Kind.NUMBER:
            return number(value, criterion, bound)
        case Kind.DATE:
            return _date(value, criterion, today, bound)
        case Kind.BOOLEAN:
            return value if criterion.values[0] else f"not ({value})"
        case Kind.LIST:
            wanted = _folded([str(one) for one in criterion.values], bound)
            return f"{value} {'@>' if criterion.operator == 'all_of' else '&&'} {wanted}"
        case Kind.UID:
            return f"{value} = any({bound.bind(list(criterion.values), 'text[]')})"
    raise AssertionError(kind)  # regions are compiled elsewhere


def is_missing(kind: Kind, value: str) -> str:
    """A condition that holds where there is no value; never NULL."""
    if kind in (Kind.TEXT, Kind.UID):
        return f"(coalesce({value}, '') = '')"
    if kind is Kind.LIST:
        return f"(coalesce(cardinality({value}), 0) = 0)"
    return f"(({value}) is null)"


def text(value: str, criterion: Criterion, bound: Parameters) -> str:
    """A condition on a text; upper and lower case are the same."""
    wanted = [str(one) for one in criterion.values]
    match criterion.operator:
        case "is":
            return f"lower({value}) = any({_folded(wanted, bound)})"
        case "word":
            words = [f"(^|[^[:alnum:]]){re.escape(one)}([^[:alnum:]]|$)" for one in wanted]
            return f"lower({value}) ~ any({_folded(words, bound)})"
        case "contains":
            patterns = [f"%{one.translate(_LIKE)}%" for one in wanted]
        case "starts_with":
            patterns = [f"{one.translate(_LIKE)}%" for one in wanted]
        case "like":
            patterns = [one.translate(_WILDCARDS) for one in wanted]
        case _:
            raise AssertionError(criterion.operator)
    return f"lower({value}) like any({_folded(patterns, bound)})"


def _folded(texts: list[str], bound: Parameters) -> str:
    """Texts in lower case, as the database makes it: it has other rules than Python for letters like the Turkish
    capital I, and knows only ASCII where its locale is C."""
    if all(one.isascii() for one in texts):
        return bound.bind([one.lower() for one in texts], "text[]")
    return f"array(select lower(x) from unnest({bound.bind(texts, 'text[]')}) x)"


def number(value: str, criterion: Criterion, bound: Parameters, of: str = "float8") -> str:
    """A condition on a number; `of` is the type in which it is compared: 0.9 of a `real` is no 0.9 of a `float8`."""
    if criterion.operator == "is":
        return f"{value} = any({bound.bind([float(one) for one in criterion.values], f'{of}[]')})"  # type: ignore[arg-type]
    compared = {"min": ">=", "max": "<=", "above": ">", "below": "<"}[criterion.operator]
    return f"{value} {compared} {bound.bind(criterion.values[0], of)}"


def spans(criterion: Criterion, today: date) -> list[tuple[date | None, date | None]]:
    """The days that a criterion of dates allows, as spans with both ends included; None is open."""
    match criterion.operator:
        case "from":
            return [(criterion.values[0], None)]  # type: ignore[list-item]
        case "to":
            return [(None, criterion.values[0])]  # type: ignore[list-item]
        case "year":
            return [(date(int(year), 1, 1), date(int(year), 12, 31)) for year in criterion.values]  # type: ignore[arg-type]
        case "last_days":
            days = int(criterion.values[0])  # type: ignore[arg-type]
            return [(today - timedelta(days=days), today)]
    raise AssertionError(criterion.operator)


def _date(value: str, criterion: Criterion, today: date, bound: Parameters) -> str:
    said = []
    for first, last in spans(criterion, today):
        ends = [f"{value} >= {bound.bind(first, 'date')}"] if first else []
        ends += [f"{value} <= {bound.bind(last, 'date')}"] if last else []
        said.append(" and ".join(ends))
    return said[0] if len(said) == 1 else f"({' or '.join(f'({one})' for one in said)})"


# -- elements of DICOM JSON ---------------------------------------------------------------------------------------

_WRITTEN_DAY = "translate(left({0} #>> '{{}}', 10), '.-', '')"  # DA and DT; ACR-NEMA wrote dots


def element_asks(
    kind: Kind, vr: str, element: str, path: str, criteria: Iterable[Criterion], today: date, bound: Parameters
) -> str:
    """A condition that holds where one value of an element satisfies all criteria; never NULL.

    Args:
        element: SQL of the element, jsonb; NULL where it is not there.
        path: from it to the values, e.g. `$.Value[*]`.
    """
    values = f"jsonb_path_query({element}, {bound.bind(path, 'jsonpath')}) e(v)"
    present = f"exists (select from {values} where e.v not in ('null', '\"\"'))"
    asked, said = [], []
    for criterion in criteria:
        if criterion.operator == "missing":
            said.append(f"not {present}" if criterion.values[0] else present)
        else:
            asked.append(_element_asks(kind, vr, criterion, today, bound))
    if asked:
        said.append(f"exists (select from {values} where {' and '.join(asked)})")
    return f"({' and '.join(said)})"


def _element_asks(kind: Kind, vr: str, criterion: Criterion, today: date, bound: Parameters) -> str:
    match kind:
        case Kind.NUMBER:
            return number("json_number(e.v)", criterion, bound)
        case Kind.UID:
            return f"(e.v #>> '{{}}') = any({bound.bind(list(criterion.values), 'text[]')})"
        case Kind.DATE:
            day, said = f"left({_WRITTEN_DAY.format('e.v')}, 8)", []
            for first, last in spans(criterion, today):
                ends = [f"{day} ~ '^[0-9]{{8}}$'"]
                ends += [f'{day} collate "C" >= {bound.bind(f"{first:%Y%m%d}", "text")}'] if first else []
                ends += [f'{day} collate "C" <= {bound.bind(f"{last:%Y%m%d}", "text")}'] if last else []
                said.append(f"({' and '.join(ends)})")
            return f"({' or '.join(said)})"
    return text("(e.v ->> 'Alphabetic')" if vr == "PN" else "(e.v #>> '{}')", criterion, bound)
