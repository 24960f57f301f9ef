"""All objects of a version: `manifest.parquet`, `SHA256SUMS`, and what the version before had and this one has not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.database import Database
from sluice.objects import ObjectStore
from sluice.release.contents import objects

MANIFEST, SIGNATURE, SUMS, INDEX = "manifest.json", "manifest.json.sig", "SHA256SUMS", "manifest.parquet"


@dataclass(frozen=True)
class Listed:
    """All objects of a version, counted while they were listed."""

    kinds: dict[str, dict[str, int]]
    engines: list[str]
    added: int
    removed: list[str]


def list_objects(
    database: Database, release: dict[str, Any], root: Path, place: Path, tables: list[Path], gone: set[str]
) -> Listed:
    """Write `manifest.parquet` and `SHA256SUMS`: all objects of the version, wherever they lie."""
    from sluice.release.index import IndexWriter

    kinds: dict[str, dict[str, int]] = {}
    engines: set[str] = set()
    before = _paths(database, (release["previous"] or {}).get("release_id"))
    behind, added = _Behind(before), 0
    project = f"{release['project']}/"
    with (place / SUMS).open("w", encoding="utf-8", newline="\n") as sums, IndexWriter(place / INDEX) as index:
        for row in objects(database, release["release_id"]):
            index.add(row)
            name = row["object_key"].removeprefix(project)
            sums.write(f"{row['sha256']}  {name}\n")
            gone.discard(name)
            kind = kinds.setdefault(row["kind"], {"objects": 0, "bytes": 0})
            kind["objects"] += 1
            kind["bytes"] += row["bytes"]
            engines.add(row["engine"])
            added += not behind.had(row["path"]) and row["kind"] == "dicom"
        index.close()
        version = release["prefix"].removeprefix(project)
        for path in (*tables, place / INDEX):
            sums.write(f"{_digest(path)}  {version}{path.relative_to(root).as_posix()}\n")
    gone |= {name.removeprefix(project) for name in behind.rest()}
    return Listed(kinds, sorted(filter(None, engines)), added, sorted(gone))


def gone_before(store: ObjectStore, release: dict[str, Any]) -> set[str]:
    """What the version before says that earlier versions of the line had and it has not; a reader deletes copies of
    it."""
    previous = release["previous"]
    if previous is None:
        return set()
    said = json.loads(store.get(f"{release['project']}/v{previous['version']}/{MANIFEST}"))
    return set(said.get("removed", ()))


class _Behind:
    """Two sorted streams of paths, compared as they go: what the older one has and the newer one has not."""

    def __init__(self, paths: Iterator[tuple[str, str]]) -> None:
        self._paths = paths
        self._next = next(paths, None)
        self._gone: list[str] = []

    def had(self, path: str) -> bool:
        """Whether the older one has this path; paths are asked for in order."""
        while self._next is not None and self._next[0] < path:
            self._gone.append(self._next[1])
            self._next = next(self._paths, None)
        if self._next is None or self._next[0] != path:
            return False
        self._next = next(self._paths, None)
        return True

    def rest(self) -> list[str]:
        """Keys that only the older one has."""
        if self._next is not None:
            self._gone.append(self._next[1])
        self._gone += [key for _, key in self._paths]
        self._next = None
        return self._gone


def _paths(database: Database, release_id: int | None) -> Iterator[tuple[str, str]]:
    if release_id is not None:
        for row in objects(database, release_id):
            yield row["path"], row["object_key"]


def file_entry(root: Path, path: Path) -> dict[str, Any]:
    """A file of the version as its manifest names it."""
    return {"name": path.relative_to(root).as_posix(), "bytes": path.stat().st_size, "sha256": _digest(path)}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
