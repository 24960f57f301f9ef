"""What the models still have to read, and what they said.

The models know no database: a task asks here which images are pending, lets a reader look at them, and
hands its answers back. Everything is keyed by (SOP Instance UID, model id), so the same batch again asks for
nothing, and a backfill with a new model is a new model id.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from sluice.batches import Batch
from sluice.canonical.shards import Place
from sluice.database import Database, copy_rows, select

TASKS = ("body_part", "ivc_filter")
UNREADABLE = "pixels-unreadable"
NO_RADIOGRAPH = "not-a-radiograph"
NO_PICTURES = (
    ("1.2.840.10008.5.1.4.1.1.11.", "a presentation state"),
    ("1.2.840.10008.5.1.4.1.1.88.", "a structured report"),
    ("1.2.840.10008.5.1.4.1.1.66", "a segmentation or a registration"),
    ("1.2.840.10008.5.1.4.1.1.104.", "an encapsulated document"),
    ("1.2.840.10008.5.1.4.1.1.9.", "a waveform"),
)
"""SOP classes that stand in series of radiographs now and then, and show nothing for a model to read."""


class PredictionError(RuntimeError):
    """A model or its answer cannot be stored; the message says why."""


@dataclass(frozen=True)
class PendingImage:
    """A radiograph (CR, DX) that a model has not read yet.

    Attributes:
        sop_instance_uid: the instance.
        path: its DICOM file, relative to the archive root.
        sop_class_uid, image_type: as its header says.
        age_years: of the patient, by the header; None when unknown.
        place: of its canonical image; None where there is none, or one of another recipe.
        body_part: label of the newest body part prediction, None when there is none.
        visible: regions that it sees.
        header_region: key of the region that the header names, None when it names none or was not asked.
        detail: place of its detail image, None where there is none.
        detail_known: whether it is known that there is one, or none.
    """

    sop_instance_uid: str
    path: str
    sop_class_uid: str
    image_type: tuple[str, ...]
    age_years: float | None
    place: Place | None
    body_part: str | None
    visible: tuple[str, ...] = ()
    header_region: str | None = None
    detail: Place | None = None
    detail_known: bool = False

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """The image of a row of `pending_predictions.sql` or `pending_pictures.sql`."""
        at, finer = row["shard_id"], row.get("detail_shard_id")
        return cls(
            row["sop_instance_uid"],
            row["path"],
            row["sop_class_uid"],
            tuple(row["image_type"] or ()),
            row["patient_age_years"],
            None if at is None else Place(at, row["offset_bytes"], bytes(row["digest"])),
            row["body_part"],
            tuple(row["visible"] or ()),
            row.get("header_region"),
            None if finer is None else Place(finer, row["detail_offset_bytes"], bytes(row["detail_digest"])),
            bool(row.get("detail_known")),
        )

    @property
    def why_not(self) -> str | None:
        """What it is instead of a picture for models, in words; None where it may be one."""
        for root, words in NO_PICTURES:
            if self.sop_class_uid.startswith(root):
                return words
        return "a localizer" if "LOCALIZER" in self.image_type else None


@dataclass(frozen=True)
class Prediction:
    """What a model said about one instance; `score` is the probability of `label`, 0..1."""

    sop_instance_uid: str
    label: str
    score: float
    detail: dict[str, Any]


@dataclass(frozen=True)
class UnreadableImage:
    """An instance no model can read. `detail` says what is wrong without naming any element's value."""

    sop_instance_uid: str
    detail: str
    reason_code: str = UNREADABLE


def register_model(
    database: Database,
    model_id: str,
    task: str,
    architecture: str,
    weights_sha256: str,
    card: Mapping[str, Any],
    stage: str = "production",
) -> None:
    """Write the model to the registry; the same model again refreshes its card and leaves its stage alone.

    Raises:
        PredictionError: an unknown task, or the id is taken by other weights.
    """
    if task not in TASKS:
        raise PredictionError(f"There is no task {task!r}. Tasks are: {', '.join(TASKS)}.")
    written = database.execute(
        """
        insert into model (model_id, task, architecture, weights_sha256, card, stage)
        values (%(model_id)s, %(task)s, %(architecture)s, %(weights_sha256)s, %(card)s::jsonb, %(stage)s)
        on conflict (model_id) do update set card = excluded.card
         where model.weights_sha256 = excluded.weights_sha256 and model.task = excluded.task
        """,
        {
            "model_id": model_id,
            "task": task,
            "architecture": architecture,
            "weights_sha256": weights_sha256,
            "card": _json(card, f"the card of model {model_id}"),
            "stage": stage,
        },
    )
    if not written:
        raise PredictionError(
            f"Model id {model_id!r} is registered with other weights or another task. "
            "Give the new weights an id of their own (task, architecture, first 12 of the weights digest)."
        )


def pending(
    database: Database, batch: Batch, task: str, model_id: str, recipe: int, again: bool = False
) -> list[PendingImage]:
    """Radiographs of a batch that `model_id` has not read, in the order they were received.

    Only CR and DX are asked for, and nobody's who opted out for every project. Instances whose pixels were noted as
    unreadable stay out, because the next model cannot decode them either, unless `again` is set (after a repair at the
    source).

    Args:
        recipe: of the canonical images that the model reads; those of another one count as not there.

    Raises:
        PredictionError: an unknown task.
    """
    if task not in TASKS:
        raise PredictionError(f"There is no task {task!r}. Tasks are: {', '.join(TASKS)}.")
    asked = {"model_id": model_id, "again": again, "recipe": recipe}
    return [PendingImage.of(row) for row in database.rows("pending_predictions", {**_range(batch), **asked})]


def pending_pictures(database: Database, batch: Batch, recipe: int) -> list[PendingImage]:
    """Radiographs of a batch of which it is not known yet whether they give a canonical image of this recipe."""
    return [PendingImage.of(row) for row in database.rows("pending_pictures", {**_range(batch), "recipe": recipe})]


def _range(batch: Batch) -> dict[str, Any]:
    return {"window_key": batch.window_key, "first": batch.first, "last": batch.last}


def store(database: Database, model_id: str, task: str, rows: Iterable[Prediction]) -> int:
    """Write a model's answers; an answer it gave before stays. Returns how many were new.

    Raises:
        PredictionError: the model is not registered for this task, or an answer holds NaN or infinity.
    """
    ordered = sorted(rows, key=lambda row: row.sop_instance_uid)  # two tasks at once lock in one order
    for row in ordered:
        if not math.isfinite(row.score):
            raise PredictionError(
                f"Model {model_id} gave a score that is not a number. Nothing of this call is stored."
            )
    with database.transaction() as connection:
        registered = select(connection, "select task from model where model_id = %s", (model_id,))
        if not registered or registered[0]["task"] != task:
            raise PredictionError(f"Model {model_id!r} is not registered for {task!r}. Call register_model first.")
        return copy_rows(
            connection,
            "prediction",
            ("sop_instance_uid", "model_id", "task", "label", "score", "detail"),
            (
                (
                    row.sop_instance_uid,
                    model_id,
                    task,
                    row.label,
                    float(row.score),
                    _json(row.detail, f"an answer of model {model_id}"),
                )
                for row in ordered
            ),
        )


def note_unreadable(database: Database, rows: Iterable[UnreadableImage]) -> int:
    """Note why instances cannot be read (gap of step `predicted`); the same note again adds nothing."""
    noted = 0
    with database.transaction() as connection, connection.cursor() as cursor:
        for row in sorted(rows, key=lambda row: row.sop_instance_uid):
            cursor.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (row.sop_instance_uid,))
            cursor.execute(
                """
                insert into gap (sop_instance_uid, step, reason_code, detail)
                select %(uid)s, 'predicted', %(reason)s, %(detail)s
                 where not exists (select from (select reason_code, detail from gap
                                                 where sop_instance_uid = %(uid)s and step = 'predicted'
                                                 order by gap_id desc limit 1) newest
                                    where newest.reason_code = %(reason)s
                                      and newest.detail is not distinct from %(detail)s)
                """,
                {"uid": row.sop_instance_uid, "reason": row.reason_code, "detail": row.detail},
            )
            noted += cursor.rowcount
    return noted


def _json(value: Mapping[str, Any], what: str) -> str:
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError as error:
        raise PredictionError(
            f"NaN or infinity in {what}: Postgres cannot store it. Fix the model's output."
        ) from error
    return re.sub(r"(\\\\)|\\u0000", lambda found: found[1] or "", text)  # jsonb holds no NUL
