"""Receipts of what a PACS was asked to send: the only figure that proves."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sluice.database import Database, select

PATIENCE_S = 5.0  # without a new arrival; a PACS counts a sub-operation after our acknowledgement, so most wait none
POLL_S = 0.2


def arrived_of(database: Database, sop_uids: Sequence[str]) -> set[str]:
    """Those of the SOP Instance UIDs that have a receipt."""
    with database.transaction() as connection:
        rows = select(
            connection,
            "select sop_instance_uid from receipt where sop_instance_uid = any (%s)",
            (list(sop_uids),),
        )
    return {row["sop_instance_uid"] for row in rows}


def count_of_study(database: Database, study_uid: str) -> int:
    """Receipts of a study; changes while it arrives."""
    with database.transaction() as connection:
        (row,) = select(connection, "select count(*) as n from receipt where study_instance_uid = %s", (study_uid,))
    return int(row["n"])


def wait_for(database: Database, sop_uids: Sequence[str], enough: int) -> set[str]:
    """Wait until `enough` of them have arrived, or nothing new arrives for `PATIENCE_S`; return those that have."""
    here: set[str] = set()
    last_change = time.monotonic()
    while len(here) < enough and time.monotonic() - last_change < PATIENCE_S:
        now = arrived_of(database, sop_uids)
        if len(now) > len(here):
            here, last_change = now, time.monotonic()
        else:
            time.sleep(POLL_S)
    return here
