"""One look over all films: neighbours of those that are new, films that are there twice, labels that are doubted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from sluice.database import Database
from sluice.neighbours.doubts import note_doubts
from sluice.neighbours.duplicates import note_duplicates
from sluice.neighbours.embeddings import serving
from sluice.neighbours.search import look


@dataclass(frozen=True)
class LookSummary:
    """What a look found.

    Attributes:
        looked: films whose neighbours were looked for.
        duplicates: pairs of films that are one, new ones.
        doubted: films whose label is doubted now.
    """

    looked: int = 0
    duplicates: int = 0
    doubted: int = 0

    def as_dict(self) -> dict[str, int]:
        """The summary as XCom carries it."""
        return asdict(self)


def look_for_all(database: Database, root: Path, again: bool = False) -> LookSummary:
    """Look by the features of the body-part model that serves; nothing where it has none.

    Args:
        root: folder of the canonical images.
        again: for the neighbours of all films, not of new ones alone.

    Raises:
        EmbeddingError: the matrix of features is not whole.
    """
    model = serving(database)
    if model is None:
        return LookSummary()
    new = look(database, root, model, again)
    return LookSummary(len(new), note_duplicates(database, root, model, new), note_doubts(database, model))
