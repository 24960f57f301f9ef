"""Which Airflow task waits for which release, so that the page can tell it to go on."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sluice.database import Database, select


def ask(database: Database, release_id: int, dag_id: str, run_id: str, task_id: str, map_index: int) -> datetime:
    """Note the task that waits, in place of one before it; return since when this one does."""
    with database.transaction() as connection:
        rows = select(
            connection,
            """
            insert into review_waiting as w (release_id, dag_id, run_id, task_id, map_index)
            values (%s, %s, %s, %s, %s)
            on conflict (release_id) do update
               set dag_id = excluded.dag_id, run_id = excluded.run_id, task_id = excluded.task_id,
                   map_index = excluded.map_index,
                   since = case when (w.dag_id, w.run_id, w.task_id, w.map_index)
                                   = (excluded.dag_id, excluded.run_id, excluded.task_id, excluded.map_index)
                                then w.since else now() end
            returning since
            """,
            (release_id, dag_id, run_id, task_id, map_index),
        )
    since: datetime = rows[0]["since"]
    return since


def stop_asking(database: Database, release_id: int) -> None:
    """Forget the task: it does not wait any more."""
    database.execute("delete from review_waiting where release_id = %s", (release_id,))


def waiting_task(database: Database, release_id: int) -> dict[str, Any] | None:
    """The task that waits for a release: `dag_id`, `run_id`, `task_id`, `map_index`, `since`."""
    with database.transaction() as connection:
        rows = select(connection, "select * from review_waiting where release_id = %s", (release_id,))
    return rows[0] if rows else None
