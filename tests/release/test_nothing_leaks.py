"""A whole release, from its preparation to a recall, and then a search for every planted identifier in all that it left
behind: the bucket, the logs, each column of the database, which may hold one only where docs/identities.md says so."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg2.sql as sql
import pyarrow.parquet as pq
import pydicom
import pytest
import zstandard
from pydicom.dataset import Dataset

import sluice.release.canaries as canaries
from sluice.database import Database, select
from sluice.release.export import export_batch, prepare, publish, verify
from sluice.release.formats.derive import derive
from sluice.release.recall.opt_outs import Target, Terms, add
from sluice.release.recall.recalls import carry_out
from sluice.release.review import open_review
from sluice.release.review.approval import decide
from sluice.settings import CHECKOUT, Settings
from tests.deid.planted import DX, ROOT, image
from tests.release.hospital_day import DAY, store_day
from tests.release.scene import Scene

PLANTED = {
    "name": ["Quillfeather", "Ottoline", "山田", "Larkspur"],
    "number": ["PID-4711-77", "PID-88-LARK", "ACC9081726", "ST77123"],
    "birth": ["19490317", "1949-03-17", "17.03.1949"],
    "uid": [ROOT],
}
ENCODINGS = ("utf_8", "utf_16_le", "utf_16_be", "iso2022_jp", "shift_jis", "euc_jp", "gb18030")
LISTED = re.compile(r"^\| `([a-z_.]+)` \| ([^|]+) \|", re.M)


def needles() -> dict[str, set[bytes]]:
    """Every planted value in all encodings, in small letters too, and in hexadecimal digits as a dump has bytes."""
    found: dict[str, set[bytes]] = {}
    for kind, values in PLANTED.items():
        forms: set[bytes] = set()
        for value in values:
            for encoding in ENCODINGS:
                try:
                    forms.add(value.lower().encode(encoding))
                except UnicodeEncodeError:
                    continue
        found[kind] = forms | {form.hex().encode() for form in forms}
    return found


NEEDLES = needles()


def seen(data: bytes | str) -> set[str]:
    """Kinds of planted identifiers in it."""
    body = (data.encode() if isinstance(data, str) else data).lower()
    return {kind for kind, forms in NEEDLES.items() if any(form in body for form in forms)}


def decoded(key: str, body: bytes) -> Iterator[bytes | str]:
    """A file of the bucket as it lies there, and as its readers see it."""
    yield key
    yield body
    if key.endswith(".dcm"):
        yield str(pydicom.dcmread(io.BytesIO(body)))
    elif key.endswith(".parquet"):
        yield str(pq.read_table(io.BytesIO(body)).to_pylist())


def unpacked(value: bytes) -> bytes:
    """A column of bytes, without its compression where it has one that tells its size."""
    try:
        return zstandard.ZstdDecompressor().decompress(value)
    except zstandard.ZstdError:
        return value


def columns_that_tell(owner: Database) -> dict[str, dict[str, set[str]]]:
    """Kinds of identifiers by table and column."""
    found: dict[str, dict[str, set[str]]] = {}
    with owner.transaction() as connection:
        tables = select(
            connection,
            "select table_schema as schema, table_name as name from information_schema.tables "
            "where table_type = 'BASE TABLE' and table_schema in ('public', 'linkage')",
        )
        for table in tables:
            place = sql.SQL("select * from {}").format(sql.Identifier(table["schema"], table["name"]))
            for row in select(connection, place.as_string(connection)):
                for column, value in row.items():
                    raw = unpacked(bytes(value)) if isinstance(value, memoryview) else str(value)
                    if kinds := seen(raw):
                        name = table["name"] if table["schema"] == "public" else f"linkage.{table['name']}"
                        found.setdefault(name, {}).setdefault(column, set()).update(kinds)
    return found


@pytest.fixture
def site(scene: Scene, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, database_url=scene.database.url)


def japanese(dataset: Dataset) -> None:
    dataset.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    dataset.PatientName = "Quillfeather^Ottoline=山田^太郎"
    dataset.PatientComments = "born 1949-03-17, MRN PID-4711-77"


def whole_way(scene: Scene) -> None:
    """Prepared, exported, made into pictures, reviewed, verified, published, recalled in part; and one that waits."""
    films = [image(n, sop_class=DX, modality="DX", edit=japanese) for n in range(1, 3)]
    films += [image(n, "PID-88-LARK", "Larkspur^Bo", DX, study=2, modality="DX") for n in range(1, 3)]
    store_day(scene.database, scene.archive, films)
    project = scene.project(formats=["dicom", "png", "tables", "labels"], approval="one")
    canaries.add(scene.database, project, "rita", Settings(home=scene.archive.parent, database_url=scene.database.url))
    plan = prepare(scene.database, project, DAY, keys=scene.keys)
    for part in plan.batches:
        export_batch(scene.database, scene.archive, scene.bucket, project, plan.release_id, part, keys=scene.keys)
        derive(scene.database, scene.bucket, plan.release_id, part)
    verify(scene.database, scene.bucket, plan.release_id)
    opened = open_review(scene.database, plan.release_id)
    decide(scene.database, plan.release_id, "anna", "approved", opened.digest)
    publish(scene.database, scene.bucket, plan.release_id, scene.keys)
    scene.exported_release(scene.project(name="waiting"))
    add(scene.database, [Target("patient", patient_id="PID-88-LARK")], Terms("withdrawn", "a letter"), "dora")
    assert carry_out(scene.database, lambda _: scene.bucket, "dora", keys=scene.keys).gone


def test_nothing_that_was_planted_is_anywhere_but_where_the_page_says(
    scene: Scene, owner: Database, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    handler = logging.FileHandler(log)
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    logging.getLogger("botocore").setLevel(logging.INFO)  # it would print each byte that is sent
    try:
        whole_way(scene)
        logging.getLogger("sluice").info("the search reads this")
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    for entry in scene.bucket.list():
        for form in decoded(entry.key, scene.bucket.get(entry.key)):
            assert seen(form) == set(), entry.key
    assert not [entry.key for entry in scene.bucket.list() if "/probe-" in entry.key and "radiographs" in entry.key]
    assert "the search reads this" in log.read_text()
    assert seen(log.read_bytes()) == set()
    out, err = capfd.readouterr()
    assert seen(out + err) == set()
    told = columns_that_tell(owner)
    assert told["study"]["patient_id"] == {"number"}  # the search sees what is there
    said = dict(LISTED.findall((CHECKOUT / "docs" / "identities.md").read_text()))
    unsaid = {
        table: {column: kinds for column, kinds in columns.items() if f"`{column}`" not in said.get(table, "")}
        for table, columns in told.items()
    }
    found = [f"{table}: {', '.join(columns)}" for table, columns in sorted(unsaid.items()) if columns]
    assert not found, "\n".join(found)
