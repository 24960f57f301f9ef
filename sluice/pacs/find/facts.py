"""What is known about a PACS from earlier sweeps."""

from __future__ import annotations

from typing import Any

import psycopg2.extras

from sluice.database import Database, select
from sluice.pacs.find.density import Density
from sluice.pacs.find.splitting import Facts

HABITS_HOLD_DAYS = 30  # after that a PACS's habits are learned again: they change with its software
LEVELS = ("series", "image")


def recall(database: Database, pacs: str) -> Facts:
    """The facts of one PACS; empty ones where none are kept."""
    with database.transaction() as connection:
        rows = select(
            connection,
            "select fact, value, detail, learned_at > now() - make_interval(days => %s) as fresh "
            "from pacs_fact where pacs = %s",
            (HABITS_HOLD_DAYS, pacs),
        )
    kept = {row["fact"]: row["value"] for row in rows}
    fresh = {row["fact"]: row for row in rows if row["fresh"]}

    def habit(name: str) -> bool | None:
        return bool(fresh[name]["value"]) if name in fresh else None

    alphabets = fresh["alphabets"]["detail"] if "alphabets" in fresh else None
    return Facts(
        cap=kept.get("cap"),
        limit=kept.get("limit"),
        largest=kept.get("largest", 0),
        timeless=habit("timeless"),
        ignored=set(fresh["ignored"]["detail"] or ()) if "ignored" in fresh else set(),
        alphabets={place: list(shown) for place, shown in (alphabets or {}).items()},
        density=Density.of(next((row["detail"] for row in rows if row["fact"] == "density"), None)),
        lists=habit("lists"),
        level_caps={level.upper(): kept[f"cap_{level}"] for level in LEVELS if f"cap_{level}" in kept},
        level_largest={level.upper(): kept[f"largest_{level}"] for level in LEVELS if f"largest_{level}" in kept},
    )


def remember(database: Database, pacs: str, facts: Facts) -> None:
    """Keep the facts. Of two sweeps at once the larger answer counts; a cap that was disproved is forgotten."""
    largest = {"largest": facts.largest}
    largest |= {f"largest_{level.lower()}": count for level, count in facts.level_largest.items()}
    values: dict[str, int | None] = {"cap": facts.cap, "limit": facts.limit}
    values |= {f"cap_{level}": facts.level_caps.get(level.upper()) for level in LEVELS}
    habits: dict[str, Any] = {"ignored": sorted(facts.ignored), "alphabets": facts.alphabets}
    with database.transaction() as connection, connection.cursor() as cursor:
        for fact, count in largest.items():
            cursor.execute(
                "insert into pacs_fact (pacs, fact, value) values (%s, %s, %s) on conflict (pacs, fact) do update "
                "set value = greatest(pacs_fact.value, excluded.value), learned_at = now()",
                (pacs, fact, count),
            )
        if facts.largest_is_over:
            cursor.execute(
                "update pacs_fact set value = %s where pacs = %s and fact = 'largest'", (facts.largest, pacs)
            )
        for fact, value in values.items():
            if value is None:
                cursor.execute("delete from pacs_fact where pacs = %s and fact = %s", (pacs, fact))
            else:
                cursor.execute(
                    "insert into pacs_fact (pacs, fact, value) values (%s, %s, %s) on conflict (pacs, fact) do update "
                    "set value = excluded.value, learned_at = now() where pacs_fact.value <> excluded.value",
                    (pacs, fact, value),
                )
        for fact, known in (("timeless", facts.timeless), ("lists", facts.lists)):
            if known is None:
                cursor.execute("delete from pacs_fact where pacs = %s and fact = %s", (pacs, fact))
            else:
                _keep(cursor, pacs, fact, int(known), None)
        for fact, detail in habits.items():
            if detail:
                _keep(cursor, pacs, fact, len(detail), detail)
            else:
                cursor.execute("delete from pacs_fact where pacs = %s and fact = %s", (pacs, fact))
        cursor.execute(
            "insert into pacs_fact (pacs, fact, value, detail) values (%s, 'density', %s, %s) "
            "on conflict (pacs, fact) do update "
            "set value = excluded.value, detail = excluded.detail, learned_at = now()",
            (pacs, sum(facts.density.days.values()), psycopg2.extras.Json(facts.density.as_dict())),
        )


def _keep(cursor: Any, pacs: str, fact: str, value: int, detail: Any) -> None:
    """A habit keeps the day on which it was learned until it is learned otherwise, or anew after its time."""
    cursor.execute(
        "insert into pacs_fact (pacs, fact, value, detail) values (%s, %s, %s, %s) on conflict (pacs, fact) do update "
        "set value = excluded.value, detail = excluded.detail, learned_at = now() "
        "where (pacs_fact.value, pacs_fact.detail) is distinct from (excluded.value, excluded.detail) "
        "or pacs_fact.learned_at < now() - make_interval(days => %s)",
        (pacs, fact, value, None if detail is None else psycopg2.extras.Json(detail), HABITS_HOLD_DAYS),
    )
