"""What retrievals have found out about a PACS, kept for the next ones."""

from __future__ import annotations

from sluice.database import Database, select

MOVES = "moves"  # whether it sends to our destination by C-MOVE
TOGETHER = "moves_together"  # whether it takes several studies in one C-MOVE
NO_HOLDS_DAYS = {  # a no is tried again after this long: an administrator may have added us, or updated the PACS
    MOVES: 1,
    TOGETHER: 30,
}


def learned(database: Database, pacs: str, fact: str) -> bool | None:
    """Whether something holds of a PACS; None where it is not known, or was denied long ago."""
    with database.transaction() as connection:
        rows = select(
            connection,
            "select value from pacs_fact where pacs = %s and fact = %s "
            "and (value = 1 or learned_at > now() - make_interval(days => %s))",
            (pacs, fact, NO_HOLDS_DAYS[fact]),
        )
    return bool(rows[0]["value"]) if rows else None


def learn(database: Database, pacs: str, fact: str, holds: bool) -> None:
    """Keep whether it does."""
    database.execute(
        "insert into pacs_fact (pacs, fact, value) values (%s, %s, %s) on conflict (pacs, fact) do update "
        "set value = excluded.value, learned_at = now()",
        (pacs, fact, int(holds)),
    )
