"""The registry's rows: models, their stages, what was measured of them, and which of them read now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extras import Json

from sluice.database import Database, select
from sluice.registry.weights import SHIPPED, RegistryError, WeightsFile, keep, located, read_weights

STAGES_LOCK = 7_350_036  # one at a time moves models between stages


@dataclass(frozen=True)
class RunningModel:
    """A model that reads.

    Attributes:
        model_id: its name and version, `<task>-<architecture>-<first 12 of the weights' digest>`.
        task, architecture: what it reads, with which network.
        stage: `production`, whose answers count, or `shadow`, which reads the same images beside it.
        weights_sha256: digest of the file.
        path: the file; its bytes have that digest.
    """

    model_id: str
    task: str
    architecture: str
    stage: str
    weights_sha256: str
    path: Path


def models_to_run(database: Database, task: str, folder: Path, shipped: Path = SHIPPED) -> list[RunningModel]:
    """The model of a task in production, then its shadows; the door that inference asks.

    At first start, when no model of the task is registered, the weights that ship are entered as production. Weights
    that ship with a later version are entered as a candidate: a person decides.

    Args:
        folder: where this installation keeps weights (`sluice.registry.weights.folder_of`).

    Raises:
        RegistryError: no model of the task is in production, or its weights are gone.
    """
    enter_shipped(database, task, folder, shipped)
    rows = database.rows("models_to_run", {"task": task})
    if not rows or rows[0]["stage"] != "production":
        raise RegistryError(
            f"No model of {task} is in production. Look at `sluice models`, and put one there: sluice models promote."
        )
    return [
        RunningModel(path=located(row["model_id"], row["weights_sha256"], folder, shipped), task=task, **row)
        for row in rows
    ]


def enter_shipped(database: Database, task: str, folder: Path, shipped: Path = SHIPPED) -> None:
    """Register the weights that ship, where they are not yet: as production where the task has no model at all."""
    path = shipped / f"{task}.pt"
    if not path.is_file():
        return
    weights = read_weights(path)
    with database.transaction() as connection:
        known = select(connection, "select model_id, stage from model where task = %s", (task,))
    if any(row["model_id"] == weights.model_id for row in known):
        keep(weights, folder)
        return
    first = not any(row["stage"] == "production" for row in known)
    reason = "no model of the task was there" if first else "came with this version of Sluice"
    register(database, weights, folder, "sluice", reason, stage="production" if first else "candidate")


def register(
    database: Database,
    weights: WeightsFile,
    folder: Path,
    by: str,
    reason: str,
    stage: str = "candidate",
    data_snapshot: str | None = None,
    code_revision: str | None = None,
) -> bool:
    """Enter a model and keep its weights; whether it was new. Again: changes nothing.

    Raises:
        RegistryError: the id is taken by other weights, or the file cannot be kept.
    """
    keep(weights, folder)
    with database.transaction() as connection:
        lock_stages(connection)
        written = select(
            connection,
            "insert into model (model_id, task, architecture, weights_sha256, card, stage, data_snapshot, "
            "code_revision, registered_by) values (%s, %s, %s, %s, %s, %s, %s, %s, %s) "
            "on conflict (model_id) do nothing returning model_id",
            (
                weights.model_id, weights.task, weights.architecture, weights.sha256, Json(dict(weights.card)), stage,
                data_snapshot, code_revision, by,
            ),
        )  # fmt: skip
        if written:
            note(connection, weights.model_id, "registered", by, reason, {"stage": stage})
            return True
        (row,) = select(connection, "select weights_sha256 from model where model_id = %s", (weights.model_id,))
    if row["weights_sha256"] != weights.sha256:
        raise RegistryError(
            f"{weights.model_id} is registered with other weights; an id of its own follows the digest."
        )
    return False


def note_evaluation(database: Database, model_id: str, measured: Mapping[str, Any]) -> int:
    """Keep what was measured of a model on a set of films; the id of the evaluation.

    Args:
        measured: `evaluation_set`, `set_name`, `films`, `patients`, `metrics`, `answers`, as `models.measures` gives
            them, `code_revision`, and `films_of`: `shipped`, or `site` for films of this site.

    Raises:
        RegistryError: the model is not registered.
    """
    with database.transaction() as connection:
        model_row(connection, model_id)
        rows = select(
            connection,
            "insert into model_evaluation (model_id, evaluation_set, set_name, films, patients, metrics, answers, "
            "code_revision, films_of) values (%(model_id)s, %(evaluation_set)s, %(set_name)s, %(films)s, %(patients)s, "
            "%(metrics)s, %(answers)s, %(code_revision)s, %(films_of)s) returning evaluation_id",
            {
                **measured,
                "model_id": model_id,
                "metrics": Json(measured["metrics"]),
                "answers": Json(measured["answers"]),
                "code_revision": measured.get("code_revision"),
                "films_of": measured.get("films_of", "shipped"),
            },
        )
    return int(rows[0]["evaluation_id"])


def models(database: Database, task: str | None = None) -> list[dict[str, Any]]:
    """Every model, the ones that read first: stage, whether it serves, metrics, how it agrees with production."""
    return database.rows("models", {"task": task})


def history(database: Database, model_id: str) -> list[dict[str, Any]]:
    """What happened to a model, newest first."""
    return database.rows("model_history", {"model_id": model_id})


def card_of(database: Database, model_id: str) -> dict[str, Any]:
    """The card of a model.

    Raises:
        RegistryError: there is no such model.
    """
    with database.transaction() as connection:
        model_row(connection, model_id)
        (row,) = select(connection, "select card from model where model_id = %s", (model_id,))
    return dict(row["card"])


def disagreement(database: Database, model_id: str) -> list[dict[str, Any]]:
    """How a model's answers meet those of the model in production, on images that both read: pairs of labels, counted,
    the most frequent difference first."""
    return database.rows("model_disagreement", {"model_id": model_id})


def model_row(connection: Connection, model_id: str) -> dict[str, Any]:
    """Id, task, stage and digest of a model.

    Raises:
        RegistryError: there is no such model.
    """
    rows = select(
        connection, "select model_id, task, stage, weights_sha256 from model where model_id = %s", (model_id,)
    )
    if not rows:
        raise RegistryError(f"There is no model {model_id!r}. `sluice models` lists them.")
    return rows[0]


def lock_stages(connection: Connection) -> None:
    """Whoever moves models waits for whoever does so already, until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s)", (STAGES_LOCK,))


def note(
    connection: Connection, model_id: str, event: str, by: str, reason: str, detail: Mapping[str, Any] | None = None
) -> None:
    """Append what happened to a model."""
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into model_event (model_id, event, by, reason, detail) values (%s, %s, %s, %s, %s)",
            (model_id, event, by, reason, Json(dict(detail or {}))),
        )
