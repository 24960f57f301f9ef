"""Films of this site for training: what people labelled in a file or confirmed by annotation, and what header and model
agree on, each region a few."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from models.data import Film
    from sluice.database import Database

SURE = 0.95  # probability of header and model together from which a film's region counts as known
SOURCE = "site"
ANNOTATED = "annotated"  # source of films that people confirmed here, followed by how: annotated-agreed


def site_films(
    database: Database, canonical: Path, most: int, labels: Path | None = None
) -> tuple[list[Film], NDArray[np.uint8]]:
    """Training films of this site with their canonical images `(n, 512, 512)`: labels of the file first, then what
    annotation confirmed (`sluice.annotation.confirmed`), then headers'.

    A header's word counts where the model reads the same and both together are sure (`sluice.anatomy.fusion`, which
    learned how far this site's headers are to be believed). What is opted out stays out.

    Args:
        most: films of each region that headers label; 0 for none.
        labels: CSV of people's labels (`sluice.anatomy.measures.read_labels`).

    Raises:
        LabelsUnusable: the file is none.
        OSError: there is no such file.
    """
    import numpy as np

    from models.framing import SIZE
    from sluice.annotation.confirmed import confirmed
    from sluice.canonical.index import picture_of

    known: dict[str, Film | None] = {}
    if labels is not None:
        known |= {uid: _film(row, regions) for uid, (row, regions) in _labelled(database, labels).items()}
    for row in confirmed(database, "body_part"):
        known.setdefault(row["sop_instance_uid"], _confirmed(row))
    for row in database.rows("site_films", {"least": SURE, "most": most}) if most else []:
        known.setdefault(row["sop_instance_uid"], _film(row, (row["region_key"],)))
    films: list[Film] = []
    pictures: list[NDArray[np.uint8]] = []
    for uid in sorted(known):
        film, picture = known[uid], picture_of(database, canonical, uid)
        if film is not None and picture is not None:
            films.append(film)
            pictures.append(np.asarray(picture))
    return films, np.stack(pictures) if pictures else np.zeros((0, SIZE, SIZE), dtype=np.uint8)


def snapshot_digest(films: Sequence[Film], images: Iterable[NDArray[np.uint8]]) -> str:
    """SHA-256 over films with their labels and pixels, in order."""
    import numpy as np

    digest = hashlib.sha256()
    for film, image in zip(films, images, strict=True):
        row = asdict(film) | {"path": film.path and film.path.name}
        digest.update(json.dumps(row, sort_keys=True).encode())
        digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()


def _labelled(database: Database, labels: Path) -> dict[str, tuple[dict[str, Any], tuple[str, ...]]]:
    from sluice.anatomy.measures import read_labels

    said = read_labels(labels).regions
    rows = database.rows("labelled_films", {"uids": sorted(said)})
    return {row["sop_instance_uid"]: (row, tuple(sorted(said[row["sop_instance_uid"]]))) for row in rows}


def _film(row: dict[str, Any], regions: tuple[str, ...]) -> Film | None:
    """A film with the class that follows from its regions; None where none does."""
    from models.labels import PEDIATRIC_BELOW_YEARS, REGIONS36, ROUTER5_OF_REGION, examined_of

    seen = tuple(sorted((key for key in regions if key in REGIONS36), key=REGIONS36.index))
    classes = {ROUTER5_OF_REGION.get(key, "others") for key in seen}
    if len(classes) != 1:
        return None
    router5, age = classes.pop(), row["patient_age_years"]
    if router5 == "adult_chest":
        if age is None:
            return None
        router5 = "pediatric_chest" if age < PEDIATRIC_BELOW_YEARS else "adult_chest"
    return _of_site(row, router5, examined_of(seen), seen)


def _confirmed(row: dict[str, Any]) -> Film:
    """A film as annotated: class and examined region are what people said, not what follows from regions."""
    from models.labels import REGIONS36

    seen = tuple(key for key in REGIONS36 if key in row["visible"])
    return _of_site(row, row["label"], row["examined"], seen, f"{ANNOTATED}-{row['origin']}")


def _of_site(
    row: dict[str, Any], router5: str, examined: str | None, seen: tuple[str, ...], source: str = SOURCE
) -> Film:
    """A film of the patient's pseudonymous number."""
    from models.data import Film

    group = hashlib.sha256(str(row["patient"]).encode()).hexdigest()[:16]
    return Film(None, source, group, "train", router5, examined, seen, row["patient_age_years"])
