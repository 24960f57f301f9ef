"""Films of this site. For training: what people labelled in a file or confirmed by annotation, and what header and
model agree on, each region a few. For measuring: what people confirmed, of patients of whom nothing trains.

Which patients measure is decided by a hash of the patient, once and for all, so that no film of theirs was ever trained
on, whichever snapshot a model comes from. A film without a Patient ID might be anybody's, and does neither.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from models.data import Film
    from sluice.database import Database

SURE = 0.95  # probability of header and model together from which a film's region counts as known
SOURCE = "site"
MEASURING = 5  # one patient in so many measures and never trains
ANNOTATED = "annotated"  # source of films that people confirmed here, followed by how: annotated-agreed


def measures(patient: str) -> bool:
    """Whether films of this patient (`study.patient_key`) measure models instead of training them."""
    digest = hashlib.sha256(f"measures {patient}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % MEASURING == 0


def site_films(
    database: Database, canonical: Path, most: int, labels: Path | None = None
) -> tuple[list[Film], NDArray[np.uint8]]:
    """Training films of this site with their canonical images `(n, 512, 512)`: labels of the file first, then what
    annotation confirmed (`sluice.annotation.confirmed`), then headers'.

    Nothing of patients who measure (`measures`). A header's word counts where the model reads the same and both
    together are sure (`sluice.anatomy.fusion`, which learned how far this site's headers are to be believed). What is
    opted out stays out.

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
        known |= {
            uid: _film(row, regions) for uid, (row, regions) in _labelled(database, labels).items() if _trains(row)
        }
    for row in filter(_trains, confirmed(database, "body_part")):
        known.setdefault(row["sop_instance_uid"], _confirmed(row))
    for row in filter(_trains, database.rows("site_films", {"least": SURE, "most": most}) if most else []):
        known.setdefault(row["sop_instance_uid"], _film(row, (row["region_key"],)))
    films: list[Film] = []
    pictures: list[NDArray[np.uint8]] = []
    for uid in sorted(known):
        film, picture = known[uid], picture_of(database, canonical, uid)
        if film is not None and picture is not None:
            films.append(film)
            pictures.append(np.asarray(picture))
    return films, np.stack(pictures) if pictures else np.zeros((0, SIZE, SIZE), dtype=np.uint8)


@dataclass(frozen=True)
class Measuring:
    """Confirmed films of this site that measure models of a task, in order of their UIDs.

    Attributes:
        films: as annotated; of `ivc_filter` nothing but the patient is known of a film.
        labels: what people said: the router class, `present` or `absent`.
        pictures: canonical images `(n, 512, 512)`.
    """

    task: str
    films: list[Film]
    labels: list[str]
    pictures: NDArray[np.uint8]

    @property
    def digest(self) -> str:
        """Of the evaluation set: films, labels and pixels."""
        whole = hashlib.sha256(f"{self.task} {snapshot_digest(self.films, self.pictures)}".encode())
        whole.update(json.dumps(self.labels).encode())
        return whole.hexdigest()


def measuring(database: Database, canonical: Path, task: str) -> Measuring:
    """What people confirmed of patients who measure; opted-out people are left out."""
    import numpy as np

    from models.data import Film
    from models.framing import SIZE
    from sluice.annotation.confirmed import confirmed
    from sluice.canonical.index import picture_of

    films: list[Film] = []
    labels: list[str] = []
    pictures: list[NDArray[np.uint8]] = []
    for row in confirmed(database, task):
        if row["patient"] is None or not measures(row["patient"]):
            continue
        picture = picture_of(database, canonical, row["sop_instance_uid"])
        if picture is not None:
            bare = Film(None, SOURCE, _group(row), "test", "others", None, None)
            films.append(_confirmed(row, "test") if task == "body_part" else bare)
            labels.append(row["label"])
            pictures.append(np.asarray(picture))
    stacked = np.stack(pictures) if pictures else np.zeros((0, SIZE, SIZE), dtype=np.uint8)
    return Measuring(task, films, labels, stacked)


def _trains(row: dict[str, Any]) -> bool:
    return row["patient"] is not None and not measures(row["patient"])


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


def _confirmed(row: dict[str, Any], split: str = "train") -> Film:
    """A film as annotated: class and examined region are what people said, not what follows from regions."""
    from models.labels import REGIONS36

    seen = tuple(key for key in REGIONS36 if key in row["visible"])
    return _of_site(row, row["label"], row["examined"], seen, f"{ANNOTATED}-{row['origin']}", split)


def _of_site(
    row: dict[str, Any],
    router5: str,
    examined: str | None,
    seen: tuple[str, ...],
    source: str = SOURCE,
    split: str = "train",
) -> Film:
    """A film of the patient's pseudonymous number."""
    from models.data import Film

    return Film(None, source, _group(row), split, router5, examined, seen, row["patient_age_years"])


def _group(row: dict[str, Any]) -> str:
    return hashlib.sha256(str(row["patient"]).encode()).hexdigest()[:16]
