"""Labels that cannot be right, by what a film's neighbours are called.

Each film is judged by its nearest of other studies: they vote for the region that they bear, the nearer the more, and a
film is doubted when another region has more of the votes than its own. Ordered by how much more. The thresholds of
confident learning (Northcutt, Jiang and Chuang, J Artif Intell Res 70 (2021) 1373-1411) are left out: with them fewer
of the labels were found that we had swapped (docs/annotation.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sluice.database import Database, copy_rows, named_query

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FEWEST = 5  # with fewer neighbours of other studies that have a label nobody is doubted
FALLS = 0.05  # a vote counts exp(-1) of a twin's where the cosine is this much less
AT_ONCE = 20_000
COLUMNS = ("sop_instance_uid", "model_id", "said", "origin", "suggested", "share_said", "share_suggested")


@dataclass(frozen=True)
class Doubt:
    """A film's label that its neighbours contradict.

    Attributes:
        row: of the film.
        suggested: number of the label that they bear.
        share_said, share_suggested: of the votes, 0..1.
    """

    row: int
    suggested: int
    share_said: float
    share_suggested: float

    @property
    def margin(self) -> float:
        """How clear it is, 0..1."""
        return self.share_suggested - self.share_said


def doubted(
    neighbours: NDArray[np.int64],
    cosines: NDArray[np.float32],
    labels: NDArray[np.int64],
    studies: NDArray[np.int64],
) -> list[Doubt]:
    """Films whose label their neighbours contradict, the clearest first.

    Args:
        neighbours: rows of the nearest films of each, nearest first, `(films, most)`; -1 where there is none.
        cosines: of each of them.
        labels: number of the label of each film, -1 where it has none.
        studies: number of the study of each film.
    """
    import numpy as np

    count = int(labels.max(initial=-1)) + 1
    if count < 2:
        return []
    votes = np.where(neighbours >= 0, labels[neighbours], -1)
    votes[studies[neighbours] == studies[:, None]] = -1
    judged = np.flatnonzero(((votes >= 0).sum(axis=1) >= FEWEST) & (labels >= 0))
    found = []
    for start in range(0, len(judged), AT_ONCE):
        rows = judged[start : start + AT_ONCE]
        shares = np.zeros((len(rows), count), np.float32)
        whose, where = np.nonzero(votes[rows] >= 0)
        np.add.at(shares, (whose, votes[rows][whose, where]), np.exp((cosines[rows][whose, where] - 1) / FALLS))
        shares /= shares.sum(axis=1, keepdims=True)
        at = np.arange(len(rows))
        own = shares[at, labels[rows]].copy()
        shares[at, labels[rows]] = 0
        best = shares.argmax(axis=1)
        more = np.flatnonzero(shares[at, best] > own)
        found += [Doubt(int(rows[n]), int(best[n]), float(own[n]), float(shares[n, best[n]])) for n in more]
    return sorted(found, key=lambda doubt: (-doubt.margin, doubt.row))


def note_doubts(database: Database, model_id: str) -> int:
    """Write down which films' labels are doubted now, in place of what was written before; returns how many.

    The label is the region that readers say, else the header's. Films without neighbours yet are not judged
    (`sluice.neighbours.search.look`).
    """
    import numpy as np

    regions: dict[str, int] = {}
    studies: dict[str, int] = {}
    position, label, study, about, near, cosine = [], [], [], [], [], []
    for row in _rows(database, model_id):
        position.append(row["position"])
        label.append(-1 if row["region"] is None else regions.setdefault(row["region"], len(regions)))
        study.append(studies.setdefault(row["study_instance_uid"], len(studies)))
        about.append((row["sop_instance_uid"], row["origin"]))
        near.append(np.asarray(row["neighbours"] or (), np.int64))
        cosine.append(np.asarray(row["similarity"] or (), np.float32))
    if not position:
        return 0
    places = np.full((len(position), max(len(one) for one in near) or 1), -1, np.int64)
    cosines = np.zeros(places.shape, np.float32)
    row_of = np.full(max(position) + 1, -1, np.int64)
    row_of[position] = np.arange(len(position))
    for row, (one, how) in enumerate(zip(near, cosine, strict=True)):
        places[row, : len(one)] = np.where(one < len(row_of), row_of[np.minimum(one, len(row_of) - 1)], -1)
        cosines[row, : len(one)] = how
    names = list(regions)
    found = doubted(places, cosines, np.asarray(label), np.asarray(study))
    rows = sorted(
        (about[one.row][0], model_id, names[label[one.row]], about[one.row][1], names[one.suggested], one.share_said,
         one.share_suggested)
        for one in found
    )  # fmt: skip
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("delete from label_doubt")
        copy_rows(connection, "label_doubt", COLUMNS, rows)
    return len(rows)


def _rows(database: Database, model_id: str) -> Any:
    """Rows of all films of a model, in the order of their positions, not all in memory at once."""
    from psycopg2.extras import RealDictCursor

    with database.transaction() as connection, connection.cursor("films", cursor_factory=RealDictCursor) as cursor:
        cursor.itersize = AT_ONCE
        cursor.execute(named_query("embedding_labels"), {"model_id": model_id})
        yield from cursor


def doubts(database: Database, most: int = 200) -> list[dict[str, Any]]:
    """Films whose label is doubted and that nobody has looked at since, the clearest first."""
    return database.rows("label_doubts", {"most": most})
