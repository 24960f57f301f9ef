"""Batches: how a window's instances are cut into pieces that a task works on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

from sluice.database import Database, select

BATCH_SIZE = 5_000
EVERYTHING = "*"
"""In place of a window: the whole archive, for a model that is new."""
RADIOGRAPHS = 20_000
"""Radiographs of one task: to load a network costs seconds, and the graphics card is lent to one task at a time."""


@dataclass(frozen=True)
class Batch:
    """Received instances of a window, cut by receipt id; small enough to travel through XCom.

    Attributes:
        window_key: the window, or `EVERYTHING`.
        first, last: receipt ids, inclusive. Which of them still need the step is asked when it runs,
            so a batch planned twice or run twice does the work once.
        count: instances when it was planned.
    """

    window_key: str
    first: int
    last: int
    count: int

    def as_dict(self) -> dict[str, Any]:
        """The batch as XCom carries it."""
        return asdict(self)

    @classmethod
    def of(cls, value: dict[str, Any]) -> Self:
        """The batch that `as_dict` gave."""
        return cls(**value)


def plan_batches(database: Database, window_key: str, size: int = BATCH_SIZE) -> list[Batch]:
    """Cut the received instances of a window into batches of at most `size`."""
    with database.transaction() as connection:
        rows = select(
            connection,
            """
            select min(receipt_id) as first, max(receipt_id) as last, count(*) as count
              from (select receipt_id, (row_number() over (order by receipt_id) - 1) / %(size)s as piece
                      from receipt join window_member using (sop_instance_uid)
                     where window_key = %(window_key)s) numbered
             group by piece order by piece
            """,
            {"window_key": window_key, "size": size},
        )
    return [Batch(window_key, row["first"], row["last"], row["count"]) for row in rows]


def plan_radiographs(database: Database, window_key: str, size: int = RADIOGRAPHS) -> list[Batch]:
    """Cut the radiographs of a window, or of `EVERYTHING`, into batches of at most `size`."""
    rows = database.rows("radiograph_batches", {"window_key": window_key, "size": size})
    return [Batch(window_key, row["first"], row["last"], row["count"]) for row in rows]
