"""Features of films, kept by (SOP Instance UID, model): one matrix of float16 a model, in a file beside the shards.

A writer holds the matrix's row in the database, writes behind what is there, waits for the disk, and says whose rows
these are as it lets go. Who is killed in between leaves bytes behind the end, which the next one overwrites. What is
erased is zeros in the file before its entry goes, so that nobody killed in between leaves features of whom nobody may
use. Vectors have length 1, so that a product of two is their cosine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sluice.database import Database, copy_rows, select

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from psycopg2.extensions import connection as Connection  # noqa: N812

ITEM = 2  # bytes of a float16
MODEL_ID = re.compile(r"[\w.-]{1,200}")


class EmbeddingError(RuntimeError):
    """Features cannot be kept or are not there; the message says what to do."""


def matrix_path(root: Path, model_id: str) -> Path:
    """The file of a model's matrix below the folder of canonical images."""
    if not MODEL_ID.fullmatch(model_id):
        raise EmbeddingError(
            f"{model_id!r} cannot name a file: give the model an id of letters, digits, '-', '_', '.'."
        )
    return root / "embeddings" / f"{model_id}.f16"


def keep(
    database: Database, root: Path, model_id: str, sop_instance_uids: Sequence[str], features: NDArray[np.float32]
) -> int:
    """Keep the features of films; those that a film has from this model stay. Returns how many are new.

    Args:
        root: folder of the canonical images.
        features: pooled features, `(n, width)`, of any length.

    Raises:
        EmbeddingError: the model's features had another width before, or the disk cannot be written.
    """
    import numpy as np

    if len(sop_instance_uids) != len(features):
        raise ValueError(f"{len(sop_instance_uids)} films but {len(features)} rows of features")
    with database.transaction() as connection:
        end = _hold(connection, model_id, features.shape[1])
        known = select(
            connection,
            "select sop_instance_uid from embedding where model_id = %s and sop_instance_uid = any(%s)",
            (model_id, list(sop_instance_uids)),
        )
        there = {row["sop_instance_uid"] for row in known}
        new = [place for place, uid in enumerate(sop_instance_uids) if uid not in there]
        unit = np.asarray(features[new], np.float32)
        unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
        _write(matrix_path(root, model_id), unit.astype(np.float16).tobytes(), end * features.shape[1] * ITEM)
        rows = sorted((sop_instance_uids[place], model_id, end + row) for row, place in enumerate(new))
        with connection.cursor() as cursor:
            cursor.execute("update embedding_matrix set size = size + %s where model_id = %s", (len(new), model_id))
        return copy_rows(connection, "embedding", ("sop_instance_uid", "model_id", "position"), rows)


def matrix_of(database: Database, root: Path, model_id: str) -> NDArray[np.float16]:
    """A model's matrix, mapped for reading, `(rows, width)`; without rows where it has none.

    Raises:
        EmbeddingError: the file is gone though films point into it.
    """
    import numpy as np

    with database.transaction() as connection:
        rows = select(
            connection,
            "select width, size from embedding_matrix where model_id = %s",
            (model_id,),
        )
    if not rows or not rows[0]["size"]:
        return np.zeros((0, rows[0]["width"] if rows else 1), np.float16)
    path, shape = matrix_path(root, model_id), (int(rows[0]["size"]), int(rows[0]["width"]))
    if not path.is_file() or path.stat().st_size < shape[0] * shape[1] * ITEM:
        raise EmbeddingError(
            f"The features of {model_id} are not whole in {path.parent}. Restore the file from a backup, or run "
            f"`sluice annotate forget --model {model_id}` and the DAG annotate, which makes them again."
        )
    return np.memmap(path, np.float16, "r", shape=shape)


def serving(database: Database) -> str | None:
    """The body-part model that serves and has features; None where it has none."""
    with database.transaction() as connection:
        rows = select(
            connection,
            "select model_id from model_serving join embedding_matrix using (model_id) where task = 'body_part'",
        )
    return str(rows[0]["model_id"]) if rows else None


def remove(database: Database, root: Path, sop_instance_uids: Sequence[str]) -> int:
    """Take out the features of films, of every model, and what was concluded from them; returns how many there were."""
    uids = list(sop_instance_uids)
    with database.transaction() as connection, connection.cursor() as cursor:
        rows = select(
            connection,
            "select e.model_id, e.position, m.width from embedding e join embedding_matrix m using (model_id) "
            "where e.sop_instance_uid = any(%s)",
            (uids,),
        )
        for row in rows:
            length = row["width"] * ITEM
            _write(matrix_path(root, row["model_id"]), bytes(length), row["position"] * length)
        cursor.execute("delete from embedding where sop_instance_uid = any(%s)", (uids,))
        cursor.execute("delete from near_duplicate where first_uid = any(%s) or second_uid = any(%s)", (uids, uids))
        cursor.execute("delete from label_doubt where sop_instance_uid = any(%s)", (uids,))
    return len(rows)


def remove_withdrawn(database: Database, root: Path) -> int:
    """Take out the features of what is opted out for every project, or is not in the archive; returns how many."""
    _cut_ends(database, root)
    uids = [row["sop_instance_uid"] for row in database.rows("embedding_withdrawn")]
    return remove(database, root, uids) if uids else 0


def forget(database: Database, root: Path, model_id: str) -> int:
    """Drop a model's features whole; returns how many films had some."""
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("delete from label_doubt where model_id = %s", (model_id,))
        cursor.execute("delete from embedding where model_id = %s", (model_id,))
        films = cursor.rowcount
        cursor.execute("delete from embedding_matrix where model_id = %s", (model_id,))
    matrix_path(root, model_id).unlink(missing_ok=True)
    return films


def _hold(connection: Connection, model_id: str, width: int) -> int:
    """Hold a model's matrix until the transaction ends; its rows."""
    rows = select(
        connection,
        "insert into embedding_matrix as m (model_id, width) values (%s, %s) "
        "on conflict (model_id) do update set size = m.size where m.width = excluded.width returning size",
        (model_id, width),
    )
    if not rows:
        raise EmbeddingError(
            f"The features of {model_id} had another width than {width} before. A model whose features differ needs an "
            "id of its own (task, architecture, first 12 of the weights' digest)."
        )
    return int(rows[0]["size"])


def _cut_ends(database: Database, root: Path) -> None:
    """Cut off what killed writers left behind the end of matrices."""
    with database.transaction() as connection:
        for row in select(connection, "select model_id, width, size from embedding_matrix for update"):
            path, end = matrix_path(root, row["model_id"]), row["size"] * row["width"] * ITEM
            if path.is_file() and path.stat().st_size > end:
                os.truncate(path, end)


def _write(path: Path, data: bytes, offset: int) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
        try:
            rest = memoryview(data)
            while rest:
                written = os.pwrite(file, rest, offset)
                rest, offset = rest[written:], offset + written
            os.fdatasync(file)
        finally:
            os.close(file)
    except OSError as error:
        raise EmbeddingError(
            f"Features of films cannot be written below {path.parent} ({error.strerror}). Free room or give the folder "
            "to this user, then run the step again."
        ) from error
