"""Doing what was decided: objects to nodes by C-STORE, and a note of the runs that were started."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sluice.database import Database, copy_rows
from sluice.pacs.send import Outgoing, Sent, send
from sluice.reports.making import SendSummary
from sluice.routing.deciding import note_actions

if TYPE_CHECKING:
    from sluice.pacs.governor import Governor
    from sluice.pacs.node import PacsNode


def send_open(
    database: Database,
    node: PacsNode,
    archive: Path,
    rule: str,
    window_key: str,
    governor: Governor | None = None,
    at_once: int = 200,
) -> SendSummary:
    """Send what a rule decided for a node and nothing came of yet; what came of each is kept every `at_once` objects.

    Args:
        archive: root of the received files.

    Raises:
        GovernorStop: the node must not be asked now; what was sent before is kept.
    """
    rows = database.rows("routing_to_do", {"rule": rule, "destination": f"node {node.name}", "window_key": window_key})
    sent = failed = 0
    for start in range(0, len(rows), at_once):
        some = rows[start : start + at_once]
        decided = {row["sop_instance_uid"]: row["decision_id"] for row in some}
        told: list[Sent] = []
        try:
            told.extend(
                send(node, [Outgoing(row["sop_instance_uid"], archive / row["path"]) for row in some], governor)
            )
        finally:
            _keep(database, node, rule, told, decided)
        sent += sum(one.is_there for one in told)
        failed += sum(not one.is_there for one in told)
    return SendSummary(len(rows), sent, failed)


def _keep(database: Database, node: PacsNode, rule: str, told: list[Sent], decided: dict[str, int]) -> None:
    with database.transaction() as connection:
        copy_rows(
            connection,
            "sent_object",
            ("sop_instance_uid", "node", "reason", "rule", "status", "detail"),
            [(one.sop_instance_uid, node.name, "route", rule, one.status, one.detail) for one in told],
        )
    note_actions(
        database,
        [(decided[one.sop_instance_uid], "sent" if one.is_there else "failed", one.detail) for one in told],
    )


def note_started(
    database: Database, rule: str, destination: str, window_key: str, newest: int, run_id: str | None
) -> int:
    """Note for the open decisions of a rule up to `newest` that a run was started, or, without one, that none could be.

    Returns:
        How many decisions.
    """
    rows = database.rows("routing_to_do", {"rule": rule, "destination": destination, "window_key": window_key})
    failed = ("failed", "The run could not be started: see the log of route_predictions.")
    outcome, detail = ("started", run_id) if run_id else failed
    note_actions(database, [(row["decision_id"], outcome, detail) for row in rows if row["decision_id"] <= newest])
    return len(rows)
