"""Tables of the profile, as data: generated ones and reviewed ones, with the edition they rest on.

| file | what | made by |
| --- | --- | --- |
| `basic_profile.csv` | PS3.15 Table E.1-1: action of the Basic Profile and of each option, per tag | `generate` |
| `content_items.csv` | PS3.15 Table E.3.4-1: action per content item of a structured report | `generate` |
| `safe_private.csv` | PS3.15 Table E.3.10-1: private elements that are known to be safe | `generate` |
| `types.csv` | Type of each attribute with a compound action, per place in an IOD (PS3.3) | `generate` |
| `allowed.csv` | second layer: technical attributes of the IODs that may leave, without a row in E.1-1 | `generate` |
| `reviewed.csv` | attributes without a row that a person allowed by value, or refused | by hand |
| `sop_classes.csv` | which SOP classes may leave, which are held and why | by hand |
| `terms.csv` | words that a cleaned description or report may keep, and which of them are names as well | by hand |
| `code_words.csv` | words of the code strings of PS3.3, as dciodvfy knows them | `generate` |
| `people.csv` | titles, particles and verbs that say that a name stands beside them | by hand |
| `edition.json` | edition and digests of the sources | `generate` |
"""

from __future__ import annotations

import csv
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent


@cache
def table(name: str) -> tuple[dict[str, str], ...]:
    """Rows of `<name>.csv` in this folder."""
    with (FOLDER / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


@cache
def edition() -> dict[str, Any]:
    """Edition, source digests and row counts of the generated tables, and a digest over all tables."""
    recorded: dict[str, Any] = json.loads((FOLDER / "edition.json").read_text(encoding="utf-8"))
    digest = hashlib.sha256()
    for path in sorted(FOLDER.glob("*.csv")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return recorded | {"tables_sha256": digest.hexdigest()}
