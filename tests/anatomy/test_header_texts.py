"""How often body region, side and view are right, on texts as hospitals write them (`header_texts.csv`).

Two fifths of the texts, chosen by a digest, are held out: their mistakes were not looked at while words were added.
`header_texts_fresh.csv` was written when the words stood; docs/anatomy.md has the figures of its first reading. A text
there that names two regions which are no composite is right with either. Print the figures with
`python -m tests.anatomy.test_header_texts`.
"""

from __future__ import annotations

import csv
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom.sr.codedict import codes

from sluice.anatomy import read_anatomy
from sluice.anatomy.regions import meanings_of_codes, table

TAGS = {"series": 0x0008103E, "study": 0x00081030, "bpe": 0x00180015}
LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "nl", "zh")
ASKED = ("region", "side", "view")
PARTS = ("worked on", "held out", "fresh")


@dataclass
class Score:
    """Answers that are right, answers, and texts that have one."""

    right: int = 0
    given: int = 0
    wanted: int = 0

    def add(self, wanted: str, given: str) -> None:
        self.right += bool(given) and given == wanted
        self.given += bool(given)
        self.wanted += bool(wanted)

    @property
    def precision(self) -> float:
        return self.right / self.given if self.given else 1.0

    @property
    def recall(self) -> float:
        return self.right / self.wanted if self.wanted else 1.0


def texts() -> Iterator[tuple[dict[str, str], str]]:
    """The labelled texts, and to which part each belongs."""
    for name in ("header_texts", "header_texts_fresh"):
        path = Path(__file__).with_name(f"{name}.csv")
        for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
            held_out = zlib.crc32(row["text"].encode()) % 5 < 2
            yield row, "fresh" if name.endswith("fresh") else "held out" if held_out else "worked on"


def scores() -> dict[tuple[str, str, str], Score]:
    """By language (`all` too), what was asked, and part."""
    found: dict[tuple[str, str, str], Score] = defaultdict(Score)
    for row, part in texts():
        reading = read_anatomy({TAGS[row["source"]]: {"vr": "LO", "Value": [row["text"]]}})
        given = {
            "region": ";".join(reading.members) or reading.region_key or "",
            "side": reading.laterality or "",
            "view": reading.view or "",
        }
        if not reading.members and given["region"] in row["region"].split(";"):
            row["region"] = given["region"]
        for name in ASKED:
            found[row["lang"], name, part].add(row[name], given[name])
            found["all", name, part].add(row[name], given[name])
    return found


def test_regions_sides_and_views_are_as_right_as_documented() -> None:
    found = scores()
    assert sum(found["all", "region", part].wanted for part in PARTS) > 450
    for (language, name, part), score in found.items():
        if part == "fresh" and (language != "all" or name == "view"):  # too few texts for a figure
            continue
        least = 0.9 if language != "all" or part == "fresh" else 0.98
        assert score.precision >= least, (language, name, part, score)
        assert score.recall >= least, (language, name, part, score)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_its_texts_and_its_traps(language: str) -> None:
    rows = [row for row, _ in texts() if row["lang"] == language]
    assert sum(bool(row["region"]) for row in rows) >= 40
    assert sum(not row["region"] for row in rows) >= 3


def test_every_concept_of_cid_4009_and_term_of_table_l_1_is_known() -> None:
    for code in codes.cid4009.concepts.values():
        meaning = meanings_of_codes()[code.value]
        for written in (code.meaning, code.meaning.replace(" ", "").replace("-", "").replace(",", "").upper()):
            reading = read_anatomy({TAGS["bpe"]: {"vr": "CS", "Value": [written]}})
            assert reading.sct_code == meaning.sct_code, written
    for row in table("part_codes.csv"):
        if not row["sct_code"]:
            reading = read_anatomy({TAGS["bpe"]: {"vr": "CS", "Value": [row["display"]]}})
            assert reading.region_key == row["regions"], row


if __name__ == "__main__":
    for part in PARTS:
        print(part)
        for one in (*LANGUAGES, "all"):
            line = [(name, scores()[one, name, part]) for name in ASKED]
            print(f"  {one:4}", *(f"{n} {s.precision:.2f} {s.recall:.2f} ({s.wanted})" for n, s in line))
