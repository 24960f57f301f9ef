"""Labels that cannot be right, by what a film's neighbours are called.

Each film is judged by films of other studies: the share of its nearest that bear a region is that region's probability,
for which the film's own label was not used. With these, confident learning (Northcutt, Jiang and Chuang, J Artif
Intell Res 70 (2021) 1373-1411): a region counts where its probability is at least what films of that region have of it
on average, so a region that is easily taken for another does not fill the list; a film is doubted when a region that
counts is likelier than its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sluice.database import Database, copy_rows, named_query

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

VOTES = 10  # nearest films of other studies that have a label
FEWEST = 5  # with fewer nobody is doubted
AT_ONCE = 20_000
COLUMNS = ("sop_instance_uid", "model_id", "said", "origin", "suggested", "share_said", "share_suggested")


@dataclass(frozen=True)
class Doubt:
    """A film's label that its neighbours contradict.

    Attributes:
        row: of the film.
        suggested: number of the label that they bear.
        share_said, share_suggested: of the neighbours, 0..1.
    """

    row: int
    suggested: int
    share_said: float
    share_suggested: float

    @property
    def margin(self) -> float:
        """How clear it is, 0..1."""
        return self.share_suggested - self.share_said


def doubted(neighbours: NDArray[np.int64], labels: NDArray[np.int64], studies: NDArray[np.int64]) -> list[Doubt]:
    """Films whose label their neighbours contradict, the clearest first.

    Args:
        neighbours: rows of the nearest films of each, nearest first, `(films, most)`; -1 where there is none.
        labels: number of the label of each film, -1 where it has none.
        studies: number of the study of each film.
    """
    import numpy as np

    count = int(labels.max(initial=-1)) + 1
    if count < 2:
        return []
    there = neighbours >= 0
    votes = np.where(there, labels[neighbours], -1)
    votes[(studies[neighbours] == studies[:, None]) | ~there] = -1
    valid = votes >= 0
    votes[np.cumsum(valid, axis=1) > VOTES] = -1
    shares = np.zeros((len(labels), count), np.float32)
    whose, where = np.nonzero(votes >= 0)
    np.add.at(shares, (whose, votes[whose, where]), 1)
    voters = shares.sum(axis=1)
    judged = np.flatnonzero((voters >= FEWEST) & (labels >= 0))
    shares[judged] /= voters[judged, None]
    own = np.zeros(len(labels), np.float32)
    own[judged] = shares[judged, labels[judged]]
    usual = np.array(
        [
            own[judged[labels[judged] == label]].mean() if (labels[judged] == label).any() else np.inf
            for label in range(count)
        ]
    )
    others = np.where(shares >= usual[None, :], shares, 0)
    others[np.arange(len(labels)), np.maximum(labels, 0)] = 0
    found = [
        Doubt(int(row), int(others[row].argmax()), float(own[row]), float(others[row].max()))
        for row in judged
        if others[row].max() > own[row]
    ]
    return sorted(found, key=lambda doubt: (-doubt.margin, doubt.row))


def note_doubts(database: Database, model_id: str) -> int:
    """Write down which films' labels are doubted now, in place of what was written before; returns how many.

    The label is the region that readers say, else the header's. Films without neighbours yet are not judged
    (`sluice.neighbours.search.look`).
    """
    import numpy as np

    regions: dict[str, int] = {}
    studies: dict[str, int] = {}
    position, label, study, about, near = [], [], [], [], []
    for row in _rows(database, model_id):
        position.append(row["position"])
        label.append(-1 if row["region"] is None else regions.setdefault(row["region"], len(regions)))
        study.append(studies.setdefault(row["study_instance_uid"], len(studies)))
        about.append((row["sop_instance_uid"], row["origin"]))
        near.append(np.asarray(row["neighbours"] or (), np.int64))
    if not position:
        return 0
    places = np.full((len(position), max(len(one) for one in near) or 1), -1, np.int64)
    row_of = np.full(max(position) + 1, -1, np.int64)
    row_of[position] = np.arange(len(position))
    for row, one in enumerate(near):
        inside = one[one < len(row_of)]
        places[row, : len(inside)] = row_of[inside]
    names = list(regions)
    found = doubted(places, np.asarray(label), np.asarray(study))
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
