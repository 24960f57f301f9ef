"""Receipts of what a PACS was asked to send: the only figure that proves."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from sluice.database import Database, select

PATIENCE_S = 5.0  # without a new arrival; a PACS counts a sub-operation after our acknowledgement, so most wait none
FIRST_POLL_S = 0.01
LONGEST_POLL_S = 0.2


def count_of_studies(database: Database, study_uids: Sequence[str]) -> int:
    """Receipts of studies; changes while they arrive."""
    statement = "select count(*) as n from receipt where study_instance_uid = any (%s)"
    with database.transaction() as connection:
        (row,) = select(connection, statement, (list(study_uids),))
    return int(row["n"])


def wait_for(arrived: Callable[[Sequence[str]], set[str]], sop_uids: Sequence[str], enough: int) -> set[str]:
    """Wait until `enough` of them have arrived, or nothing new arrives for `PATIENCE_S`; return those that have.

    Args:
        arrived: those of some SOP Instance UIDs that have a receipt.
    """
    here: set[str] = set()
    last_change = time.monotonic()
    pause_s = FIRST_POLL_S
    while len(here) < enough and time.monotonic() - last_change < PATIENCE_S:
        now = arrived(sop_uids)
        if len(now) > len(here):
            here, last_change, pause_s = now, time.monotonic(), FIRST_POLL_S
        else:
            time.sleep(pause_s)
            pause_s = min(LONGEST_POLL_S, pause_s * 2)
    return here
