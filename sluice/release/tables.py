"""The tables of a version, for all that it contains: Parquet for analysts, `labels.csv` for who trains classifiers.

Every column stands in `dictionary.csv` beside this file, which goes along as `tables/dictionary.csv` and `.json`; the
types of the Parquet files are read from it, so the two cannot differ. Columns of headers and reports come from the
produced files only.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sluice.csv_cells import inert
from sluice.database import Database
from sluice.release.contents import stream
from sluice.release.counting import Masking
from sluice.release.index import TableWriter
from sluice.release.reports import reports

DICTIONARY = Path(__file__).with_name("dictionary.csv")
TRAIN, VALIDATE = 70, 85  # of a hundred: below the first is train, below the second val, the rest test
SPLITS = ("train", "val", "test")
TYPES = {
    "string": pa.string(),
    "int32": pa.int32(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "list<string>": pa.list_(pa.string()),
    "list<int32>": pa.list_(pa.int32()),
    "list<float32>": pa.list_(pa.float32()),
    "list<list<float32>>": pa.list_(pa.list_(pa.float32())),
}


def write_tables(database: Database, release: Mapping[str, Any], masking: Masking, folder: Path) -> list[Path]:
    """Write the tables that the release's formats ask for; the files, in order."""
    formats = set(release["formats"])
    makers: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {}
    if "tables" in formats:
        makers |= {
            "headers": lambda: _headers(database, release["release_id"], masking),
            "predictions": lambda: _predictions(database, release["release_id"]),
            "labels": lambda: _labels(database, release["release_id"], masking),
            "reports": lambda: _reports(database, release["release_id"], masking),
        }
    if "png" in formats:
        makers["images"] = lambda: _derived(database, release["release_id"], "png")
    if "nifti" in formats:
        makers["volumes"] = lambda: _derived(database, release["release_id"], "nifti")
    if not makers and "labels" not in formats:
        return []
    folder.mkdir()
    written = []
    for name, rows in makers.items():
        written.append(folder / f"{name}.parquet")
        with TableWriter(written[-1], schema(name)) as table:
            for row in rows():
                table.add(row)
    described = set(makers)
    if "labels" in formats:
        described.add("labels")
        written += _labels_csv(_labels(database, release["release_id"], masking), folder)
    return written + _dictionary(described, folder)


def texts_of(path: Path) -> Iterator[bytes]:
    """What a table says, piece by piece, to look for what it must not say; Parquet is compressed."""
    if path.suffix != ".parquet":
        yield path.read_bytes()
        return
    with pq.ParquetFile(path) as table:
        for batch in table.iter_batches():
            yield repr(batch.to_pydict()).encode()


@cache
def dictionary() -> tuple[dict[str, str], ...]:
    """All columns of all tables: table, name, type, unit, source, meaning."""
    with DICTIONARY.open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def schema(table: str) -> pa.Schema:
    """Columns of a Parquet table with their types."""
    return pa.schema([(row["name"], TYPES[row["type"]]) for row in dictionary() if row["table"] == table])


def split_of(patient: str) -> str:
    """Which split a patient is in, by the pseudonym alone: SHA-256 of `split/<pseudonym>`, its first 8 bytes modulo
    100."""
    place = int.from_bytes(hashlib.sha256(f"split/{patient}".encode()).digest()[:8], "big") % 100
    return SPLITS[(place >= TRAIN) + (place >= VALIDATE)]


def _headers(database: Database, release_id: int, masking: Masking) -> Iterator[dict[str, Any]]:
    for row in _rows(database, "release_objects", release_id):
        if row["kind"] == "dicom":
            yield masking.masked(row["columns"]) | {"key": row["object_key"]}


def _labels(database: Database, release_id: int, masking: Masking) -> Iterator[dict[str, Any]]:
    for row in _rows(database, "release_labels", release_id):
        columns = row.pop("columns")
        shown = masking.masked(columns | row)
        yield shown | {"split": split_of(str(columns.get("patient")))}


def _reports(database: Database, release_id: int, masking: Masking) -> Iterator[dict[str, Any]]:
    for row in reports(database, release_id):
        columns = row.pop("columns")
        yield masking.masked(columns | row)


def _predictions(database: Database, release_id: int) -> Iterator[dict[str, Any]]:
    for row in _rows(database, "release_predictions", release_id):
        detail = row.pop("detail")
        boxes = [place["box"] for place in detail.get("boxes") or () if isinstance(place, dict) and "box" in place]
        yield row | {
            "examined_region": detail.get("examined"),
            "visible_regions": detail.get("visible") or None,
            "boxes": boxes or None,
        }


def _derived(database: Database, release_id: int, kind: str) -> Iterator[dict[str, Any]]:
    for row in _rows(database, "release_objects", release_id):
        if row["kind"] == kind and row["columns"].get("is_data", True):
            yield row["columns"] | {"key": row["object_key"]}


def _rows(database: Database, query: str, release_id: int) -> Iterator[dict[str, Any]]:
    with database.transaction() as connection:
        yield from stream(connection, query, {"release_id": release_id})


def _labels_csv(rows: Iterator[dict[str, Any]], folder: Path) -> list[Path]:
    """`labels.csv` (lists are joined by `|`) and the JSON Schema of one of its rows."""
    columns = [row for row in dictionary() if row["table"] == "labels"]
    values: dict[str, set[str]] = {name: set() for name in ("router5", "ivc_filter")}
    path, described = folder / "labels.csv", folder / "labels.schema.json"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([column["name"] for column in columns])
        for row in rows:
            writer.writerow([_cell(row.get(column["name"])) for column in columns])
            for name, seen in values.items():
                seen.update([row[name]] if row[name] else [])
    properties: dict[str, Any] = {}
    for column in columns:
        number = column["type"].startswith("float")
        properties[column["name"]] = {
            "description": column["meaning"],
            "type": ["number" if number else "string", "null"],
        }
    for name, seen in values.items():
        properties[name] |= {"enum": [*sorted(seen), None]}
    properties["split"] |= {"enum": list(SPLITS), "type": "string"}
    for name in ("key", "patient"):
        properties[name]["type"] = "string"
    described.write_text(
        json.dumps(
            {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "title": "A row of labels.csv; an empty cell is null, items of a list are separated by |",
                "type": "object",
                "properties": properties,
                "required": ["key", "patient", "split"],
                "additionalProperties": False,
            },
            indent=1,
            ensure_ascii=False,
        )
        + "\n",
        encoding="utf-8",
    )
    return [path, described]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}"
    return str(inert("|".join(value) if isinstance(value, list) else str(value)))


def _dictionary(tables: set[str], folder: Path) -> list[Path]:
    """The dictionary of these tables, as CSV and as JSON."""
    plain, structured = folder / "dictionary.csv", folder / "dictionary.json"
    rows = [row for row in dictionary() if row["table"] in tables]
    with plain.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    structured.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return [plain, structured]
