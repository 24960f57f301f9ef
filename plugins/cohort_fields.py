"""What the builder of the page Cohorts offers: fields with their operators, body parts, and values that occur."""

from __future__ import annotations

from typing import Any

from fastapi import HTTPException

from sluice.database import Database, select

SHOWN_VALUES = 60
LONGEST_VALUE = 80
FREE_TEXT = frozenset({"series_description"})  # what people typed may name somebody
STRATEGY_WORDS = {
    "header": "what the header says",
    "examined": "what the model says was examined",
    "visible": "what the model sees",
    "union": "header or model",
    "intersection": "header and model",
    "fused": "the likeliest by both",
}


def pickable(database: Database, sensitive: bool) -> dict[str, Any]:
    """Fields, operators by kind, and the other conditions that the rows of the builder know.

    Args:
        sensitive: with the fields that identify patients.
    """
    from sluice.anatomy.strategies import Strategy, parts
    from sluice.cohorts.criteria import OPERATORS
    from sluice.cohorts.language import SEVERITIES
    from sluice.cohorts.promoted import registry_of
    from sluice.quality.suites import load_suites

    return {
        "fields": [
            {
                "name": field.name,
                "kind": field.kind.value,
                "level": field.level.value,
                "words": field.words,
                "unit": field.unit,
                "sensitive": field.sensitive,
                "has_values": _has_values(field),
            }
            for field in registry_of(database).fields.values()
            if sensitive or not field.sensitive
        ],
        "operators": {kind.value: list(operators) for kind, operators in OPERATORS.items()},
        "parts": list(parts()),
        "strategies": {one.value: STRATEGY_WORDS[one.value] for one in Strategy},
        "severities": list(SEVERITIES),
        "rules": sorted(rule.name for rule in load_suites().rules),
        "tasks": {"body_part": [], "ivc_filter": ["present", "absent"]},
    }


def occurring(database: Database, name: str) -> list[str]:
    """Values of a field of series, most frequent first."""
    from sluice.cohorts.fields import REGISTRY

    field = REGISTRY.fields.get(name)
    if field is None or not _has_values(field):
        raise HTTPException(404, "There are no values to choose from.")
    with database.transaction() as connection:
        rows = select(
            connection,
            # the expression is the registry's own
            f"select {field.sql} as value from cohort_block b where {field.sql} is not null "
            "group by 1 order by count(*) desc, 1 limit %s",
            (SHOWN_VALUES,),
        )
    return [str(row["value"])[:LONGEST_VALUE] for row in rows]


def _has_values(field: Any) -> bool:
    return (
        field.level.value == "series"
        and field.kind.value == "text"
        and not field.sensitive
        and field.name not in FREE_TEXT
    )
