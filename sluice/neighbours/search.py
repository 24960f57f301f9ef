"""Who lies nearest to whom: exact search by cosine, in chunks of a mapped matrix.

No index that approximates: at a million films one question takes seconds and a day's films a minute or two
(docs/annotation.md has the figures), and what is exact can be wrong in one way less.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluice.database import Database, select
from sluice.neighbours.embeddings import EmbeddingError, matrix_of, serving

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHUNK = 8192  # rows of the matrix that are brought to float32 at once
TOGETHER = 1024  # films whose neighbours are looked for at once
KEPT = 20  # neighbours that are kept of a film


def nearest(
    matrix: NDArray[np.float16], queries: NDArray[np.float32], most: int, own: Sequence[int] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The `most` nearest rows of each query, nearest first: positions and cosines, both `(queries, most)`.

    Where the matrix has fewer rows, the rest is position -1 with cosine -inf.

    Args:
        matrix: vectors of length 1, `(rows, width)`.
        queries: vectors of length 1, `(queries, width)`.
        own: the row of each query, which is no neighbour of itself.
    """
    import numpy as np

    count = len(queries)
    places = np.full((count, most), -1, np.int64)
    cosines = np.full((count, most), -np.inf, np.float32)
    mine = None if own is None else np.asarray(own, np.int64)
    for start in range(0, len(matrix), CHUNK):
        chunk = np.asarray(matrix[start : start + CHUNK], np.float32)
        found = queries @ chunk.T
        if mine is not None:
            inside = np.flatnonzero((mine >= start) & (mine < start + len(chunk)))
            found[inside, mine[inside] - start] = -np.inf
        if start == 0 and len(chunk) > most:  # the first chunk has no bound to be better than
            best = np.argpartition(found, len(chunk) - most, axis=1)[:, len(chunk) - most :]
            places[:], cosines[:] = best, np.take_along_axis(found, best, axis=1)
            continue
        whose, where = np.nonzero(found > cosines.min(axis=1, keepdims=True))
        if len(whose):
            _merge(places, cosines, whose, where + start, found[whose, where])
    order = np.argsort(-cosines, axis=1, kind="stable")
    return np.take_along_axis(places, order, axis=1), np.take_along_axis(cosines, order, axis=1)


def _merge(
    places: NDArray[np.int64],
    cosines: NDArray[np.float32],
    whose: NDArray[np.int64],
    where: NDArray[np.int64],
    found: NDArray[np.float32],
) -> None:
    """Put better rows in the place of worse ones."""
    import numpy as np

    count, most = places.shape
    owners = np.concatenate([np.repeat(np.arange(count), most), whose])
    values = np.concatenate([cosines.ravel(), found])
    rows = np.concatenate([places.ravel(), where])
    order = np.lexsort((-values, owners))
    firsts = np.searchsorted(owners[order], np.arange(count))
    taken = order[firsts[:, None] + np.arange(most)]
    places[:], cosines[:] = rows[taken], values[taken]


def look(database: Database, root: Path, model_id: str, again: bool = False) -> list[int]:
    """Find the neighbours of films that were not looked at yet, and keep them; returns the films' positions.

    A film keeps the neighbours that it had when it came; those that come later have it among theirs.

    Args:
        root: folder of the canonical images.
        again: of all films.

    Raises:
        EmbeddingError: the matrix is not whole.
    """
    import numpy as np

    matrix = matrix_of(database, root, model_id)
    with database.transaction() as connection:
        rows = select(
            connection,
            "select position from embedding where model_id = %s and (%s or neighbours is null) and position < %s "
            "order by position",
            (model_id, again, len(matrix)),
        )
    positions = [int(row["position"]) for row in rows]
    for start in range(0, len(positions), TOGETHER):
        part = positions[start : start + TOGETHER]
        places, cosines = nearest(matrix, np.asarray(matrix[part], np.float32), KEPT, own=part)
        _keep(database, model_id, part, places, cosines)
    return positions


def _keep(
    database: Database, model_id: str, part: list[int], places: NDArray[np.int64], cosines: NDArray[np.float32]
) -> None:
    from psycopg2.extras import execute_values

    rows = [
        (position, [int(one) for one in place[place >= 0]], [float(one) for one in cosine[place >= 0]])
        for position, place, cosine in zip(part, places, cosines, strict=True)
    ]
    with database.transaction() as connection, connection.cursor() as cursor:
        execute_values(
            cursor,
            "update embedding e set neighbours = v.places, similarity = v.cosines "
            "from (values %s) v (position, places, cosines) where e.model_id = "
            + cursor.mogrify("%s", (model_id,)).decode()
            + " and e.position = v.position",
            rows,
            template="(%s::bigint, %s::bigint[], %s::real[])",
            page_size=TOGETHER,
        )


def neighbours_of(
    database: Database, root: Path, sop_instance_uid: str, most: int = 8, model_id: str | None = None
) -> list[dict[str, Any]]:
    """The films most like one, nearest first, with what header, model and readers say of each.

    Those that were kept by `look` are taken where there are some, else the matrix is searched. Nobody's who opted out
    for every project.

    Args:
        root: folder of the canonical images.
        most: at most this many, up to `KEPT`.
        model_id: by whose features; by those of the model that serves without it.

    Raises:
        EmbeddingError: no model has features yet, the film has none, or the matrix is not whole.
    """
    import numpy as np

    model = model_id or serving(database)
    if model is None:
        raise EmbeddingError(
            "No film has features yet. Run infer_body_part, or the DAG annotate for films read before."
        )
    with database.transaction() as connection:
        rows = select(
            connection,
            "select position, neighbours, similarity from embedding where model_id = %s and sop_instance_uid = %s",
            (model, sop_instance_uid),
        )
    if not rows:
        raise EmbeddingError("The model that serves has no features of this film: it has not read it.")
    places, cosines = rows[0]["neighbours"], rows[0]["similarity"]
    if places is None:
        matrix, own = matrix_of(database, root, model), int(rows[0]["position"])
        found = nearest(matrix, np.asarray(matrix[[own]], np.float32), KEPT, own=[own])
        places, cosines = [int(one) for one in found[0][0]], [float(one) for one in found[1][0]]
    asked = {"model_id": model, "positions": places, "sop_instance_uid": sop_instance_uid}
    shown = {row["position"]: row for row in database.rows("neighbours_shown", asked)}
    return [
        shown[place] | {"similarity": cosine} for place, cosine in zip(places, cosines, strict=True) if place in shown
    ][:most]
