"""What is known about a PACS from earlier sweeps."""

from __future__ import annotations

from sluice.database import Database, select
from sluice.pacs.splitting import Facts

TIMELESS_HOLDS_DAYS = 30  # after that the check for studies without a time is done again
NO_MOVES_HOLDS_DAYS = 1  # after that C-MOVE is tried again: an administrator may have added our destination


def recall(database: Database, pacs: str) -> Facts:
    """The facts of one PACS; empty ones where none are kept."""
    with database.transaction() as connection:
        rows = select(
            connection,
            "select fact, value, learned_at > now() - make_interval(days => %s) as fresh "
            "from pacs_fact where pacs = %s",
            (TIMELESS_HOLDS_DAYS, pacs),
        )
    kept = {row["fact"]: row for row in rows}
    timeless = kept.get("timeless")
    return Facts(
        cap=kept["cap"]["value"] if "cap" in kept else None,
        largest=kept["largest"]["value"] if "largest" in kept else 0,
        timeless=bool(timeless["value"]) if timeless and timeless["fresh"] else None,
    )


def remember(database: Database, pacs: str, facts: Facts) -> None:
    """Keep the facts. Of two sweeps at once the larger answer counts; a cap that was disproved is forgotten."""
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "insert into pacs_fact (pacs, fact, value) values (%s, 'largest', %s) on conflict (pacs, fact) do update "
            "set value = greatest(pacs_fact.value, excluded.value), learned_at = now()",
            (pacs, facts.largest),
        )
        if facts.cap is None:
            cursor.execute("delete from pacs_fact where pacs = %s and fact = 'cap'", (pacs,))
        for fact, value in (("cap", facts.cap), ("timeless", facts.timeless)):
            if value is not None:
                cursor.execute(
                    "insert into pacs_fact (pacs, fact, value) values (%s, %s, %s) on conflict (pacs, fact) do update "
                    "set value = excluded.value, learned_at = now() where pacs_fact.value <> excluded.value "
                    "or pacs_fact.learned_at < now() - make_interval(days => %s)",
                    (pacs, fact, int(value), TIMELESS_HOLDS_DAYS),
                )


def moves(database: Database, pacs: str) -> bool | None:
    """Whether a PACS sends by C-MOVE to our destination; None where it is not known, or was found out long ago."""
    with database.transaction() as connection:
        rows = select(
            connection,
            "select value from pacs_fact where pacs = %s and fact = 'moves' "
            "and (value = 1 or learned_at > now() - make_interval(days => %s))",
            (pacs, NO_MOVES_HOLDS_DAYS),
        )
    return bool(rows[0]["value"]) if rows else None


def remember_moves(database: Database, pacs: str, value: bool) -> None:
    """Keep whether it does."""
    database.execute(
        "insert into pacs_fact (pacs, fact, value) values (%s, 'moves', %s) on conflict (pacs, fact) do update "
        "set value = excluded.value, learned_at = now()",
        (pacs, int(value)),
    )
