"""Deciding by the rules: as a dry run that changes nothing, and for a window, with a row for every decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.cohorts.compile import selected
from sluice.cohorts.fields import Level
from sluice.cohorts.promoted import registry_of
from sluice.database import Database, copy_rows, named_query, select
from sluice.routing.rules import Rule, Rules, load_rules


@dataclass(frozen=True)
class Taken:
    """An instance that a rule takes.

    Attributes:
        rests_on: by task the model, label and score that count now.
    """

    rule: str
    destination: str
    sop_instance_uid: str
    study_instance_uid: str
    rests_on: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return vars(self).copy()


@dataclass(frozen=True)
class Decided:
    """What was decided for a window.

    Attributes:
        rules: how many there are.
        instances: that a rule took, now or before.
        decisions: that are new.
    """

    rules: int
    instances: int
    decisions: int

    def as_dict(self) -> dict[str, int]:
        """As XCom carries it."""
        return {"rules": self.rules, "instances": self.instances, "decisions": self.decisions}


def rules_here(database: Database, path: Path | None) -> Rules | None:
    """The rules of this installation, with the fields that it promoted; None where none are named.

    Raises:
        RoutingError: they cannot be used.
    """
    return None if path is None else load_rules(path, registry_of(database))


def would_go(database: Database, rules: Rules, study_instance_uid: str, today: date | None = None) -> list[Taken]:
    """Where the instances of a study would go by the answers that count now; changes nothing."""
    with database.transaction() as connection:
        return [
            taken
            for rule in rules.rules
            for taken in _taken(connection, rule, [study_instance_uid], None, today or date.today())
        ]


def decide(database: Database, rules: Rules, window_key: str, today: date | None = None) -> Decided:
    """Decide about a window by every rule, and keep it. Again: only what is new.

    A rule of a name decides about an instance once for a destination.
    """
    instances: set[str] = set()
    written = 0
    with database.transaction() as connection:
        studies = [row["study_instance_uid"] for row in select(
            connection, named_query("routing_studies"), {"window_key": window_key}
        )]  # fmt: skip
        copy_rows(
            connection, "routing_rules", ("rules_sha256", "content", "file_name"),
            [(rules.sha256, rules.content, rules.file_name)],
        )  # fmt: skip
        for rule in rules.rules if studies else ():
            found = _taken(connection, rule, studies, window_key, today or date.today())
            instances |= {one.sop_instance_uid for one in found}
            written += copy_rows(
                connection,
                "routing_decision",
                ("rules_sha256", "rule", "sop_instance_uid", "study_instance_uid", "destination", "rests_on",
                 "window_key"),
                [
                    (rules.sha256, one.rule, one.sop_instance_uid, one.study_instance_uid, one.destination,
                     one.rests_on, window_key)
                    for one in found
                ],
            )  # fmt: skip
    return Decided(len(rules.rules), len(instances), written)


def open_of(database: Database, rule: Rule, window_key: str | None) -> list[dict[str, Any]]:
    """Decisions of a rule that nothing came of yet: `decision_id`, `sop_instance_uid`, `path` in the archive."""
    return database.rows(
        "routing_to_do", {"rule": rule.name, "destination": rule.destination, "window_key": window_key}
    )


def note_actions(database: Database, outcomes: Sequence[tuple[int, str, str | None]]) -> None:
    """Keep what came of decisions: decision, `sent`, `started` or `failed`, and words."""
    with database.transaction() as connection:
        copy_rows(connection, "routing_action", ("decision_id", "outcome", "detail"), list(outcomes))


def decisions(
    database: Database, study: str | None = None, before: int | None = None, page_size: int = 50
) -> list[dict[str, Any]]:
    """Decisions with what came of them, newest first."""
    return database.rows("routing_decisions", {"study": study, "before": before, "page_size": page_size})


def _taken(
    connection: Connection, rule: Rule, studies: Sequence[str], window_key: str | None, today: date
) -> list[Taken]:
    statement = selected(rule.when, Level.INSTANCE, today, studies)
    uids = [row["uid"] for row in select(connection, statement.sql, statement.params)]
    rows = select(connection, named_query("routing_candidates"), {"uids": uids, "window_key": window_key})
    return [Taken(rule.name, rule.destination, **row) for row in rows]
