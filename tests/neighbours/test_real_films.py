"""Labels of real films that were swapped on purpose, found by their neighbours."""

from __future__ import annotations

from pathlib import Path

from sluice.database import Database
from sluice.neighbours.doubts import doubts
from sluice.neighbours.looking import look_for_all
from sluice.neighbours.search import neighbours_of
from tests.neighbours.scene import real_films


def test_swapped_labels_of_real_films_come_first(database: Database, tmp_path: Path, shared_data: Path) -> None:
    made = real_films(database, tmp_path, shared_data, 240, wrong=0.05)
    done = look_for_all(database, tmp_path)
    assert done.looked == 240
    first = [row["sop_instance_uid"] for row in doubts(database, len(made.swapped))]
    found = len(made.swapped.keys() & set(first))
    assert len(made.swapped) == 12
    assert found >= 5, f"{found} of {len(made.swapped)}; by chance it would be about one"
    hits = [
        made.films[uid].examined
        == made.films[neighbours_of(database, tmp_path, uid, 1)[0]["sop_instance_uid"]].examined
        for uid in list(made.films)[:60]
    ]
    assert sum(hits) >= 40, "the nearest film shows the same part"
