"""What stands in the bucket beside what should: every object's digest, nothing more, no identifier of the truth."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pydicom

from sluice.database import Database
from sluice.hospital.truth import Truth
from sluice.objects import ObjectStore
from sluice.stack.verdict import Line, Section

READERS = 4
TEXT_BYTES = 4096  # the texts of a PNG stand before its pixels
SHORTEST = 4  # a shorter identifier would be met by chance in any text
WORDS = re.compile(r"[0-9A-Za-z]+(?:[.\-/_][0-9A-Za-z]+)*")


@dataclass(frozen=True)
class Looked:
    """What one object turned out to be: its digest, and how many of the truth's identifiers it shows."""

    key: str
    sha256: str
    identifiers: int


def judge_bucket(store: ObjectStore, database: Database, truth: Truth, window_key: str) -> Section:
    """Read every object of the window's releases, and compare them with the ledger, the manifest and the truth."""
    releases = database.rows("window_releases", {"window_key": window_key})
    listed = {
        row["object_key"]: row["sha256"] for row in database.rows("window_released_objects", {"window_key": window_key})
    }
    in_bucket: set[str] = set()
    manifests_hold = 0
    shared: list[Line] = []
    named: dict[str, str] = {}
    for release in releases:
        in_bucket |= {entry.key for entry in store.list(release["prefix"])}
        manifest = store.get(release["manifest_key"])
        manifests_hold += hashlib.sha256(manifest).hexdigest() == release["manifest_sha256"]
        named |= _objects_of(store, release["project"], release["prefix"], manifest)
        shared.append(_shared(json.loads(manifest)))
    reused = {"/".join(key.split("/", 2)[:2]) + "/" for key in listed.keys() - in_bucket}
    there = in_bucket | {entry.key for prefix in sorted(reused) for entry in store.list(prefix)}
    secrets = identifiers_of(truth, [str(row["value"]) for row in database.rows("patient_identifiers")])
    tables = [key for key in sorted(in_bucket - listed.keys()) if not key.endswith((".sig", ".pem"))]
    with ThreadPoolExecutor(READERS) as pool:
        looked = list(pool.map(lambda key: look(key, store.get(key), secrets), sorted(listed.keys() & there)))
        told = list(pool.map(lambda key: look(key, store.get(key), secrets), tables))
    right = sum(listed[one.key] == one.sha256 for one in looked)
    clean = sum(one.identifiers == 0 for one in looked)
    beside = {key for key in in_bucket if key.endswith(".dcm")} - listed.keys()
    return Section(
        "Bucket",
        [
            Line("published releases", "at least 1", str(len(releases)), len(releases) > 0),
            Line("manifests unchanged", str(len(releases)), str(manifests_hold), manifests_hold == len(releases)),
            Line(
                "objects named by the manifest", str(len(listed)), str(len(named)), named == listed,
                "manifest and ledger name other objects or digests",
            ),
            Line("objects with their digest", str(len(listed)), str(right), right == len(listed), "missing or changed"),
            Line("DICOM objects beside the manifest", "0", str(len(beside)), not beside),
            Line(
                "headers without a true identifier", str(len(listed)), str(clean), clean == len(listed),
                "an object shows an identifier of the hospital: take the release back",
            ),
            Line(
                "tables without a true identifier", str(len(tables)), str(sum(one.identifiers == 0 for one in told)),
                all(one.identifiers == 0 for one in told),
                "a table or manifest shows an identifier of the hospital: take the release back",
            ),
            *shared,
        ],
    )  # fmt: skip


def _shared(manifest: dict[str, Any]) -> Line:
    """How many persons of a release are rarer than its k; a day of a small hospital always has some."""
    report = manifest["anonymity"]
    rare = f"{report['below_k']['persons']} of {report['persons']} persons, policy {report['policy']}"
    return Line(f"{manifest['project']} v{manifest['version']}: rarer than {report['k']}", "", rare, None)


def identifiers_of(truth: Truth, names: list[str]) -> frozenset[str]:
    """Everything that would tell who somebody is: UIDs, patient ids, accession numbers, names; lower case."""
    found: set[str] = {name.strip().lower() for name in names}
    for study in truth.studies:
        found |= {study.study_instance_uid, study.patient_id.lower(), study.accession_number.lower()}
        for series in study.series:
            found.add(series.series_instance_uid)
            found |= {instance.sop_instance_uid for instance in series.instances}
    return frozenset(value for value in found if len(value) >= SHORTEST)


def look(key: str, body: bytes, secrets: frozenset[str]) -> Looked:
    """Digest of an object, and how many of `secrets` stand in its header at any depth."""
    said: set[str] = set()
    for text in _texts_of(key, body):
        said.add(text)
        said.update(WORDS.findall(text))
    return Looked(key, hashlib.sha256(body).hexdigest(), len(said & secrets))


def _texts_of(key: str, body: bytes) -> Iterator[str]:
    """Texts of a file of a release, lower case: all elements of DICOM, all cells of Parquet, of others what reads as
    text."""
    if key.endswith(".dcm"):
        yield from _texts(pydicom.dcmread(io.BytesIO(body), stop_before_pixels=True, force=True))
    elif key.endswith(".parquet"):
        import pyarrow.parquet as pq

        for column in pq.read_table(io.BytesIO(body)).itercolumns():
            yield from {str(value).lower() for value in column.to_pylist() if value is not None}
    elif key.endswith((".csv", ".json", "SHA256SUMS")):
        yield body.decode().lower()
    elif key.endswith(".png"):
        yield body[:TEXT_BYTES].decode("latin-1").lower()


def _texts(header: pydicom.Dataset) -> Iterator[str]:
    for element in (*header.file_meta.iterall(), *header.iterall()):
        value = element.value
        if element.VR == "SQ" or value is None:
            continue
        for part in value if isinstance(value, list | pydicom.multival.MultiValue) else [value]:
            text = part.decode("latin-1") if isinstance(part, bytes) else str(part)
            yield text.strip(" \0").lower()


def _objects_of(store: ObjectStore, project: str, prefix: str, manifest: bytes) -> dict[str, str]:
    """Digest by key of the objects that a release names, its own files left out."""
    said = json.loads(manifest)
    lines = store.get(prefix + said["sums"]["name"]).decode().splitlines()
    named = {f"{project}/{path}": digest for digest, path in (line.split("  ", 1) for line in lines)}
    own = {prefix + file["name"] for file in said["files"]}
    return {key: digest for key, digest in named.items() if key not in own}
