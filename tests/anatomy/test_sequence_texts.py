"""MR sequence, contrast, fat suppression and CT phase on labelled headers (`sequence_texts.csv`).

Parts as in `test_header_texts`; print the figures with `python -m tests.anatomy.test_sequence_texts`.
"""

from __future__ import annotations

import csv
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sluice.anatomy.phases import read_ct
from sluice.anatomy.sequences import read_mr
from tests.anatomy.test_header_texts import PARTS, Score

TEXTS = {"series": 0x0008103E, "protocol": 0x00181030, "study": 0x00081030, "agent": 0x00180010}
ACQUISITION = {
    "SS": 0x00180020, "SV": 0x00180021, "SO": 0x00180022, "TR": 0x00180080, "TE": 0x00180081, "TI": 0x00180082,
    "FA": 0x00181314, "B": 0x00189087, "IT": 0x00080008, "ROUTE": 0x00181040,
}  # fmt: skip
ASKED = {"MR": ("sequence", "contrast", "fat", "detail"), "CT": ("phase", "detail")}


def elements_of(row: dict[str, str]) -> dict[int, dict[str, Any]]:
    """DICOM JSON of a row."""
    found: dict[int, dict[str, Any]] = {TEXTS[name]: {"vr": "LO", "Value": [row[name]]} for name in TEXTS if row[name]}
    for part in row["acquisition"].split():
        name, _, value = part.partition("=")
        values: list[Any] = value.split("/")
        if name in ("TR", "TE", "TI", "FA", "B"):
            values = [float(value)]
        found[ACQUISITION[name]] = {"vr": "CS", "Value": values}
    return found


def read(row: dict[str, str]) -> dict[str, str]:
    """What is read from a row; `unknown` counts as no answer."""
    elements = elements_of(row)
    if row["modality"] == "MR":
        mr = read_mr(elements)
        found = (mr.sequence.value, mr.contrast.value, mr.fat_suppressed.value, mr.sequence.detail)
        given = dict(zip(ASKED["MR"], found, strict=True))
    else:
        ct = read_ct(elements)
        given = {"phase": ct.phase.value, "detail": ct.phase.detail}
    return {name: value or "" for name, value in given.items()}


def rows() -> Iterator[tuple[dict[str, str], str]]:
    """The labelled headers, and to which part each belongs."""
    for name in ("sequence_texts", "sequence_texts_fresh"):
        path = Path(__file__).with_name(f"{name}.csv")
        for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
            held_out = zlib.crc32(repr(row).encode()) % 5 < 2
            yield row, "fresh" if name.endswith("fresh") else "held out" if held_out else "worked on"


def scores() -> dict[tuple[str, str, str], Score]:
    """By modality, what was asked, and part."""
    found: dict[tuple[str, str, str], Score] = defaultdict(Score)
    for row, part in rows():
        given = read(row)
        for name in ASKED[row["modality"]]:
            found[row["modality"], name, part].add(row[name], given[name])
    return found


def test_sequences_and_phases_are_as_right_as_documented() -> None:
    found = scores()
    assert sum(score.wanted for (_, name, _), score in found.items() if name in ("sequence", "phase")) >= 180
    for modality, name, part in list(found):
        few = name in ("fat", "detail")  # so few texts that the parts are taken together
        pooled = [found[modality, name, each] for each in (PARTS if few else (part,))]
        right, given, wanted = (sum(getattr(score, what) for score in pooled) for what in ("right", "given", "wanted"))
        assert right >= 0.9 * given, (modality, name, part)
        assert right >= 0.9 * wanted, (modality, name, part)


if __name__ == "__main__":
    for key, score in sorted(scores().items()):
        print(*key, f"precision {score.precision:.2f} recall {score.recall:.2f} of {score.wanted}")
