"""Points: more studies than one answer holds that no key tells apart, which no way of splitting can prove complete.

Most often one patient's, of one second and without an accession number: a test patient, or what an archive was fed
from. To find that out by taking every way to its end costs thousands of queries, for each further character of an
identifier one for every letter there is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from pydicom.dataset import Dataset

from sluice.pacs.answers import seconds_of_day, text, words
from sluice.pacs.find.density import DAY_S
from sluice.pacs.find.pieces import WILDCARDS, Piece

STEPS = 2  # by other keys than date and time, after which a piece that shows nothing but a point is given up
KEYS = ("StudyTime", "PatientID", "AccessionNumber")


class Points:
    """The points of one sweep.

    Args:
        cut: asks a piece; what it was answered where that was cut off, else nothing. The second argument is the leaf
            that it belongs to.
    """

    def __init__(self, cut: Callable[[Piece, int | None], Mapping[str, Dataset]]) -> None:
        self._cut = cut
        self._known: dict[Piece, bool] = {}

    def is_all_of(self, piece: Piece, answers: Mapping[str, Dataset], leaf: int | None) -> bool:
        """Whether a piece whose answer was cut off shows nothing but a point.

        Nothing can prove it complete then. What else it may hold at that second, or without a time, was looked for by
        the steps that led to it, and would have to agree with the point in `STEPS` of them.
        """
        if steps(piece) < STEPS or piece.starts_on < piece.ends_on:
            return False
        point = point_of(piece, answers.values())
        if point is None:
            return False
        if point not in self._known:
            # others among the answers: the PACS does not match by one of the keys, and they tell nothing
            self._known[point] = point_of(point, self._cut(point, leaf).values()) == point
        return self._known[point]


def steps(piece: Piece) -> int:
    """How often a piece was cut by other keys than date and time."""
    fixed = (piece.patient_id or "").strip("*"), (piece.accession or "").strip("*")
    return (piece.modality is not None) + sum(map(len, fixed))


def point_of(piece: Piece, answers: Iterable[Dataset]) -> Piece | None:
    """The smallest piece that holds all of these answers, where no key tells them apart; None where one does, or where
    a value cannot be asked for as a whole."""
    values = {
        (*(text(answer, keyword) for keyword in KEYS), *sorted(words(answer, "ModalitiesInStudy")))
        for answer in answers
    }
    if len(values) != 1:
        return None
    time, patient, accession, *modalities = values.pop()
    if set(patient + accession) & set(WILDCARDS) or not (patient + accession).isascii():
        return None
    second = seconds_of_day(time)
    return replace(
        piece,
        from_s=0 if second is None else second,
        to_s=DAY_S if second is None else second + 1,
        modality=modalities[0] if modalities else None,
        patient_id=patient or None,
        accession=accession or None,
    )
