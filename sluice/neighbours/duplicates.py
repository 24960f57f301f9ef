"""The same film twice: under two UIDs, or under two patients, which is a mix-up of identities until somebody looked.

Features find candidates, pictures decide: of the nearest films whose features are alike, the canonical images are
compared, reduced to 64 x 64, so a changed brightness or a few noisy pixels do not matter and another hand does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluice.canonical.index import picture_of
from sluice.database import Database, copy_rows, select

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sluice.canonical.shards import Pixels

CLOSEST = 3  # neighbours of a film whose pictures are compared with its own
ALIKE = 0.9  # where the cosine of features is at least this
SAME = 0.98  # correlation of pictures from which on they are one film; docs/annotation.md says what that finds
SIDE = 64
AT_ONCE = 1000


def correlation(one: Pixels, other: Pixels) -> float:
    """Pearson correlation of two canonical images, reduced to 64 x 64; 0 where one is all alike."""
    import numpy as np

    first, second = _reduced(one), _reduced(other)
    scale = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float((first * second).sum()) / scale if scale else 0.0


def _reduced(picture: Pixels) -> NDArray[np.float32]:
    import numpy as np

    step = len(picture) // SIDE
    small = picture.reshape(SIDE, step, SIDE, step).mean(axis=(1, 3), dtype=np.float32)
    return np.asarray(small - small.mean(), np.float32)


def note_duplicates(database: Database, root: Path, model_id: str, positions: Sequence[int]) -> int:
    """Compare films with the nearest of their neighbours, and write down which are one; returns how many are new.

    Args:
        root: folder of the canonical images.
        positions: films whose neighbours were just found.
    """
    kept = 0
    for start in range(0, len(positions), AT_ONCE):
        with database.transaction() as connection:
            pairs = select(
                connection,
                "select distinct least(e.sop_instance_uid, n.sop_instance_uid) as first_uid, "
                "greatest(e.sop_instance_uid, n.sop_instance_uid) as second_uid, s.cosine "
                "from embedding e cross join unnest(e.neighbours, e.similarity) with ordinality s (place, cosine, nth) "
                "join embedding n on n.model_id = e.model_id and n.position = s.place "
                "where e.model_id = %s and e.position = any(%s) and s.nth <= %s and s.cosine >= %s order by 1, 2",
                (model_id, list(positions[start : start + AT_ONCE]), CLOSEST, ALIKE),
            )
        rows = {}
        for pair in pairs:
            uids = (pair["first_uid"], pair["second_uid"])
            one, other = (picture_of(database, root, uid) for uid in uids)
            if one is not None and other is not None and (same := correlation(one, other)) >= SAME:
                rows[uids] = (*uids, pair["cosine"], same)
        with database.transaction() as connection:
            kept += copy_rows(
                connection, "near_duplicate", ("first_uid", "second_uid", "similarity", "correlation"), rows.values()
            )
    return kept


def near_duplicates(database: Database, most: int = 200) -> list[dict[str, Any]]:
    """Films that are there twice: `belongs` is `two patients` (first), `two studies` or `one study`."""
    return database.rows("near_duplicates", {"most": most})
