"""The part of a filter that a PACS can decide: what it is asked for, before the images are here.

Everything that the filter takes satisfies that part, and more does: which instances are members is decided by the whole
filter once their headers are here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from sluice.cohorts.conditions import spans
from sluice.cohorts.expressions import AllOf, AnyOf, Expression, FieldIs, Holds
from sluice.cohorts.fields import Level

IN_DESCRIPTION = ("is", "contains", "starts_with", "word")  # operators whose value the description holds


@dataclass(frozen=True)
class Asked:
    """What a PACS is asked for.

    Attributes:
        starts_on, ends_on: study dates, both inclusive; None is open.
        modalities: any of these in the study; empty for all.
        words: any of these in the study description, case ignored; empty for all.
    """

    starts_on: date | None = None
    ends_on: date | None = None
    modalities: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    @property
    def is_impossible(self) -> bool:
        """Whether no study can satisfy it."""
        return self.starts_on is not None and self.ends_on is not None and self.starts_on > self.ends_on


def asked_of_pacs(expression: Expression, today: date) -> Asked:
    """The part of a filter that a PACS can decide by date, modality and description of a study."""
    match expression:
        case AllOf(parts):
            return _both([asked_of_pacs(part, today) for part in parts])
        case AnyOf(parts) if parts:
            return _either([asked_of_pacs(part, today) for part in parts])
        case Holds(level=level, part=part) if level is not Level.PATIENT:
            return asked_of_pacs(part, today)
        case FieldIs(field, criteria):
            known = {one.operator: one for one in criteria if one.operator != "missing"}
            if len(known) < len(criteria):
                return Asked()
            if field.name == "study_date":
                return _both([_either([Asked(*span) for span in spans(one, today)]) for one in criteria])
            if field.name == "modality" and "is" in known:
                return Asked(modalities=tuple(sorted({str(one).upper() for one in known["is"].values})))
            if field.name == "study_description":
                values = [one.values for name, one in known.items() if name in IN_DESCRIPTION]
                return Asked(words=tuple(str(word) for word in values[0])) if values else Asked()
    return Asked()


def _both(parts: Sequence[Asked]) -> Asked:
    """All of them: the dates that they share, and of modalities and words those of the first that names any."""
    return Asked(
        max((one.starts_on for one in parts if one.starts_on), default=None),
        min((one.ends_on for one in parts if one.ends_on), default=None),
        next((one.modalities for one in parts if one.modalities), ()),
        next((one.words for one in parts if one.words), ()),
    )


def _either(parts: Sequence[Asked]) -> Asked:
    """Any of them: what one of them leaves open is open."""
    parts = [one for one in parts if not one.is_impossible] or parts[:1]
    starts = [one.starts_on for one in parts]
    ends = [one.ends_on for one in parts]
    return Asked(
        None if None in starts else min(one for one in starts if one),
        None if None in ends else max(one for one in ends if one),
        _union(parts, lambda one: one.modalities),
        _union(parts, lambda one: one.words),
    )


def _union(parts: Sequence[Asked], of: Callable[[Asked], tuple[str, ...]]) -> tuple[str, ...]:
    if not all(of(one) for one in parts):
        return ()
    return tuple(dict.fromkeys(value for one in parts for value in of(one)))
