"""What a person decides about a finding: accept it, or keep the object out. The newest decision counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sluice.database import Database, select

Decided = Literal["accept", "keep-out"]


class DecisionError(RuntimeError):
    """A decision cannot be taken; the message says why."""


@dataclass(frozen=True)
class Decision:
    """One decision.

    Attributes:
        decision: `accept`: the finding no longer holds the object; `keep-out`: the object is held whatever the rule's
            severity is, and also after the rule no longer finds it, until somebody accepts.
        object: UID of the study, series or instance, key of the window, or name of the scanner, as `level` says.
    """

    rule: str
    level: str
    object: str
    decision: Decided
    reason: str
    decided_by: str
    decided_at: datetime


def decide(
    database: Database, rule: str, level: str, object_: str, decision: Decided, reason: str, by: str
) -> Decision:
    """Take a decision about a rule and an object.

    Args:
        reason: for whoever asks later; 3 to 500 characters, and no patient's name.

    Raises:
        DecisionError: the rule never found this object, or the reason is missing.
    """
    reason = " ".join(reason.split())
    if not 3 <= len(reason) <= 500:
        raise DecisionError("Say why, in 3 to 500 characters: the reason is kept with the decision.")
    key = {"rule": rule, "level": level, "object": object_}
    with database.transaction() as connection:
        known = select(
            connection,
            """
            select from quality_finding where rule = %(rule)s and level = %(level)s and object = %(object)s
            union all
            select from quality_decision where rule = %(rule)s and level = %(level)s and object = %(object)s
            limit 1
            """,
            key,
        )
        if not known:
            raise DecisionError(
                f"There is no finding of {rule} for this {level}. It may have been repaired: refresh the page."
            )
        row = select(
            connection,
            """
            insert into quality_decision (rule, level, object, decision, reason, decided_by)
            values (%(rule)s, %(level)s, %(object)s, %(decision)s, %(reason)s, %(by)s)
            returning rule, level, object, decision, reason, decided_by, decided_at
            """,
            key | {"decision": decision, "reason": reason, "by": by},
        )[0]
    return Decision(**row)


def held(database: Database, window_key: str) -> list[dict[str, Any]]:
    """Halting rules that hold a whole window and were not accepted: their names and since when."""
    with database.transaction() as connection:
        return select(
            connection,
            "select h.rule, h.severity from quality_held h where h.level = 'window' and h.object = %s order by h.rule",
            (window_key,),
        )
