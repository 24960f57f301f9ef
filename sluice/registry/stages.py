"""Moving models between stages: to the shadow, through the gate into production, and back.

A promotion needs a person's name and a reason, and leaves a row whether it passed or not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import Database, named_query, select
from sluice.registry.gate import Compared, compare, compare_here
from sluice.registry.registry import lock_stages, model_row, note
from sluice.registry.weights import RegistryError
from sluice.settings import settings


class PromotionRefused(RegistryError):  # noqa: N818
    """The gate did not let a model into production; the message says why, measure by measure."""


@dataclass(frozen=True)
class Verdict:
    """What the gate found.

    Attributes:
        model_id, serving: the candidate and the model that it would replace, None where none is in production.
        compared: the measures of both on the same films.
        site_films: films of this site that the candidate was measured on last.
        compared_here: the measures of both on the same films of this site; empty while these are too few.
        both_read: images of this site that both read.
        agree: how many of these they call the same.
        reasons: why not; empty where it may pass.
    """

    model_id: str
    serving: str | None
    compared: tuple[Compared, ...]
    site_films: int
    compared_here: tuple[Compared, ...]
    both_read: int
    agree: int
    reasons: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "model_id": self.model_id,
            "serving": self.serving,
            "compared": [one.as_dict() for one in self.compared],
            "site_films": self.site_films,
            "compared_here": [one.as_dict() for one in self.compared_here],
            "both_read": self.both_read,
            "agree": self.agree,
            "reasons": list(self.reasons),
        }


def to_shadow(database: Database, model_id: str, by: str, reason: str) -> None:
    """Let a candidate read beside production; nothing counts what it says.

    Raises:
        RegistryError: there is no such model, it is no candidate, or name or reason is missing.
    """
    _said(by, reason)
    with database.transaction() as connection:
        lock_stages(connection)
        row = model_row(connection, model_id)
        if row["stage"] != "candidate":
            raise RegistryError(f"{model_id} is no candidate but in stage {row['stage']}.")
        _move(connection, model_id, "shadow")
        note(connection, model_id, "shadow", by, reason)


def withdraw(database: Database, model_id: str, by: str, reason: str) -> None:
    """A shadow reads no more, and is a candidate again; what it said stays.

    Raises:
        RegistryError: there is no such model, it is no shadow, or name or reason is missing.
    """
    _said(by, reason)
    with database.transaction() as connection:
        lock_stages(connection)
        row = model_row(connection, model_id)
        if row["stage"] != "shadow":
            raise RegistryError(
                f"{model_id} is in stage {row['stage']}; only a shadow is withdrawn. A model in production is replaced "
                f"by promoting another, or by: sluice models rollback {row['task']}."
            )
        _move(connection, model_id, "candidate")
        note(connection, model_id, "withdrawn", by, reason)


def assess(database: Database, model_id: str) -> Verdict:
    """What the gate would say now; changes nothing.

    Raises:
        RegistryError: there is no such model.
    """
    with database.transaction() as connection:
        return _assessed(connection, model_row(connection, model_id))


def promote(database: Database, model_id: str, by: str, reason: str) -> Verdict:
    """Put a shadow into production. The model before stays, and answers for what the new one has not read yet.

    Raises:
        PromotionRefused: the gate says no; the refusal is kept.
        RegistryError: there is no such model, it serves already, or name or reason is missing.
    """
    _said(by, reason)
    with database.transaction() as connection:
        lock_stages(connection)
        row = model_row(connection, model_id)
        verdict = _assessed(connection, row)
        if verdict.serving == model_id:
            raise RegistryError(f"{model_id} is in production already.")
        if not verdict.reasons:
            _move(connection, model_id, "production")
        event = "refused" if verdict.reasons else "production"
        note(connection, model_id, event, by, reason, verdict.as_dict())
    if verdict.reasons:
        raise PromotionRefused(f"{model_id} stays in stage {row['stage']}: {' '.join(verdict.reasons)}")
    return verdict


def roll_back(database: Database, task: str, by: str, reason: str) -> tuple[str, str]:
    """Take the model that serves a task out of production; the one before serves again, with the answers it gave.

    Returns:
        Ids of the model taken out, now a candidate, and of the one that serves again.

    Raises:
        RegistryError: there is none before it, or name or reason is missing.
    """
    _said(by, reason)
    with database.transaction() as connection:
        lock_stages(connection)
        rows = select(
            connection,
            "select model_id from model where task = %s and stage = 'production' "
            "order by coalesce(production_since, registered_at) desc, model_id desc limit 2",
            (task,),
        )
        if len(rows) < 2:
            raise RegistryError(
                f"There is no model of {task} to go back to: "
                f"{'only one was' if rows else 'none is'} ever in production. Promote another instead."
            )
        taken, before = (row["model_id"] for row in rows)
        _move(connection, taken, "candidate")
        note(connection, taken, "rolled-back", by, reason, {"serving": before})
    return taken, before


def _assessed(connection: Connection, row: dict[str, Any]) -> Verdict:
    site, model_id = settings(), row["model_id"]
    serving = select(connection, "select model_id from model_serving where task = %s", (row["task"],))
    other = serving[0]["model_id"] if serving else None
    reasons: list[str] = []
    compared: list[Compared] = []
    here: list[Compared] = []
    both, agree = 0, 0
    mine, mine_here = (_evaluations(connection, model_id, films_of) for films_of in ("shipped", "site"))
    if not mine:
        reasons.append("It was never measured on the evaluation set; run train_models without architectures.")
    if other is not None and other != model_id:
        if mine:
            theirs = _evaluations(connection, other, "shipped")
            compared = _compared(mine, theirs, lambda one, two: compare(one, two, site.gate_margin))
            if not compared:
                reasons.append(
                    f"It and {other}, which serves, were not measured on the same films, or not by the same measures; "
                    "run train_models without architectures."
                )
            reasons += [f"{one}; the margin is {site.gate_margin:.3f}." for one in compared if not one.passes]
        theirs_here = _evaluations(connection, other, "site")
        here = _compared(mine_here, theirs_here, compare_here)
        if not here and any(rows and rows[0]["metrics"] for rows in (mine_here, theirs_here)):
            reasons.append(
                f"It and {other}, which serves, were not measured on the same films of this site; "
                "run train_models without architectures."
            )
        reasons += [f"On films of this site it is worse: {one}." for one in here if not one.passes]
        both, agree = _beside(connection, model_id)
        if row["stage"] != "shadow":
            reasons.append("It is no shadow: let it read beside production first (sluice models shadow).")
        elif both < site.shadow_films:
            reasons.append(
                f"As a shadow it read {both} images that {other} read too; {site.shadow_films} are asked for "
                "(SLUICE_SHADOW_FILMS)."
            )
    films = mine_here[0]["films"] if mine_here else 0
    return Verdict(model_id, other, tuple(compared), films, tuple(here), both, agree, tuple(reasons))


def _evaluations(connection: Connection, model_id: str, films_of: str) -> list[dict[str, Any]]:
    """Of a model on films of one origin, the newest first."""
    return select(
        connection,
        "select evaluation_set, films, metrics, answers from model_evaluation where model_id = %s and films_of = %s "
        "order by evaluation_id desc",
        (model_id, films_of),
    )


def _compared(
    mine: list[dict[str, Any]],
    theirs: list[dict[str, Any]],
    by: Callable[[Mapping[str, Any], Mapping[str, Any]], list[Compared]],
) -> list[Compared]:
    """On the newest set on which both were measured; empty where there is none."""
    by_set: dict[str, Mapping[str, Any]] = {}
    for row in theirs:
        if row["metrics"]:
            by_set.setdefault(row["evaluation_set"], row["answers"])
    for row in mine:
        if row["metrics"] and row["evaluation_set"] in by_set:
            try:
                return by(row["answers"], by_set[row["evaluation_set"]])
            except ValueError:
                continue  # measured by another version of the measures
    return []


def _beside(connection: Connection, model_id: str) -> tuple[int, int]:
    rows = select(connection, named_query("model_disagreement"), {"model_id": model_id})
    return sum(row["images"] for row in rows), sum(row["images"] for row in rows if row["agree"])


def _move(connection: Connection, model_id: str, stage: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "update model set stage = %(stage)s, production_since = case when %(stage)s = 'production' "
            "then clock_timestamp() end where model_id = %(model_id)s",
            {"stage": stage, "model_id": model_id},
        )


def _said(by: str, reason: str) -> None:
    if not by.strip() or not reason.strip():
        raise RegistryError("A model is moved by a person for a reason: say both who you are and why.")
