"""Prove a release by its canaries: produced by the same code in the same process, and not a token to be seen."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from psycopg2.extras import execute_values

from sluice.database import Database, select
from sluice.deid.held import Held
from sluice.objects import ObjectStore
from sluice.release.canaries.adding import canaries_of
from sluice.release.canaries.seeing import Watch

DICOM = "application/dicom"
TABLES = (".csv", ".json", ".parquet", ".txt", ".md", ".yaml")


class Produced(Protocol):
    """A produced file, as the export makes it."""

    @property
    def key(self) -> str: ...  # noqa: D102
    @property
    def data(self) -> bytes: ...  # noqa: D102
    @property
    def sha256(self) -> str: ...  # noqa: D102
    @property
    def columns(self) -> dict[str, Any]: ...  # noqa: D102


@dataclass(frozen=True)
class CanaryFinding:
    """Why a release must not be published.

    Attributes:
        kind: `leaked`, `not-probed`, `held`, `changed`, `table` or `log`.
        where: what was looked at; never a token.
    """

    kind: str
    where: str


def probe(
    database: Database, store: ObjectStore, release: dict[str, Any], produce: Callable[[dict[str, Any]], Produced]
) -> list[CanaryFinding]:
    """Produce the release's canaries as its members are produced, and look for their tokens.

    Args:
        produce: of the exporter; raises `Held`.

    Returns:
        Where tokens were seen; nothing of the part may leave then.
    """
    members = _members(database, release["release_id"])
    watch = watch_of(database, release["release_id"])
    rows: list[tuple[Any, ...]] = []
    found: list[CanaryFinding] = []
    for member in members:
        uid = member["sop_instance_uid"]
        try:
            made = produce(member)
        except Held as reason:
            # what only the re-read stopped is a fault of the engine, which this patient is here to show
            outcome = "leaked" if reason.reason_code == "held-residual" else "held"
            rows.append((release["release_id"], uid, outcome, [str(reason)], None, None))
            found += [CanaryFinding("leaked", str(reason))] if outcome == "leaked" else []
            continue
        places = watch.places(made.data, (made.key, made.columns))
        key = None if places else probe_prefix(release) + made.key.removeprefix(release["prefix"])
        if key is not None and not member["is_stored"]:
            store.put(key, made.data, DICOM)
        rows.append((release["release_id"], uid, "leaked" if places else "clean", places, key, made.sha256))
        found += [CanaryFinding("leaked", place) for place in places]
    if rows:
        with database.transaction() as connection, connection.cursor() as cursor:
            execute_values(
                cursor,
                "insert into canary_probe (release_id, sop_instance_uid, outcome, places, object_key, sha256) "
                "values %s",
                rows,
                template="(%s, %s, %s, %s::text[], %s, %s)",
            )
    return list(dict.fromkeys(found))


def check(database: Database, store: ObjectStore, release_id: int, logs: Sequence[Path] = ()) -> list[CanaryFinding]:
    """Whether the canaries of a release prove it: each produced, read back from the bucket, and nowhere else seen.

    Args:
        logs: folders of task logs to look through.

    Returns:
        Nothing where the release may be published, or its project has no canary.
    """
    members = _members(database, release_id)
    if not members:
        return []
    watch = watch_of(database, release_id)
    with database.transaction() as connection:
        (release,) = select(connection, "select * from release where release_id = %s", (release_id,))
        probes = select(connection, "select * from canary_probe where release_id = %s order by probe_id", (release_id,))
        rows = select(
            connection, "select object_key, columns from released_object where release_id = %s", (release_id,)
        )
    found = [CanaryFinding("leaked", place) for one in probes if one["outcome"] == "leaked" for place in one["places"]]
    probed = {one["sop_instance_uid"] for one in probes}
    if any(member["sop_instance_uid"] not in probed for member in members):
        found.append(CanaryFinding("not-probed", "a canary was not exported with this release; run export_batch"))
    elif not any(one["outcome"] == "clean" for one in probes):
        reasons = sorted({place for one in probes for place in one["places"]})
        found.append(CanaryFinding("held", f"every canary is held, so nothing is proved: {'; '.join(reasons)}"))
    found += _read_back(database, store, probes, watch)
    if any(watch.in_text(f"{row['object_key']} {row['columns']}") for row in rows):
        found.append(CanaryFinding("table", "what the database says of the released objects"))
    found += _tables(store, release["prefix"], watch)
    found += [CanaryFinding("log", str(path)) for folder in logs for path in _marked_files(folder, watch)]
    if not found:
        _remove(database, store, release)
    return list(dict.fromkeys(found))


def _remove(database: Database, store: ObjectStore, release: dict[str, Any]) -> None:
    """Take the canaries out of the bucket: they proved what they were there for. Where one was seen they stay."""
    keys = [entry.key for entry in store.list(probe_prefix(release))]
    if keys:
        store.delete(keys)
    database.execute(
        "update canary_probe set removed_at = now() where release_id = %s and object_key is not null "
        "and removed_at is null",
        (release["release_id"],),
    )


def watch_of(database: Database, release_id: int) -> Watch:
    """Looks for the tokens of a release's canaries."""
    rows = database.rows("release_canaries", {"release_id": release_id})
    return Watch([token for row in rows for token in row["tokens"]])


def seen_in_logs(database: Database, project: str, folders: Sequence[Path]) -> Iterator[Path]:
    """Files in which a canary of the project is seen, retired ones too."""
    tokens = [token for row in canaries_of(database, project) for token in row["tokens"]]
    watch = Watch(tokens)
    for folder in folders:
        yield from _marked_files(folder, watch)


def probe_prefix(release: dict[str, Any]) -> str:
    """Where a release's canaries go, beside it and listed nowhere."""
    return f"{release['project']}/probe-v{release['version']}/"


def _members(database: Database, release_id: int) -> list[dict[str, Any]]:
    """The canary instances that had arrived when the release began, as the export reads its members."""
    return database.rows("release_canary_members", {"release_id": release_id})


def _read_back(
    database: Database, store: ObjectStore, probes: list[dict[str, Any]], watch: Watch
) -> Iterator[CanaryFinding]:
    for key, sha256 in {
        (one["object_key"], one["sha256"]) for one in probes if one["object_key"] and not one["removed_at"]
    }:
        data = store.get(key)
        if hashlib.sha256(data).hexdigest() != sha256:
            yield CanaryFinding("changed", f"{key} is not what was uploaded, or two workers produced it differently")
        elif watch.places(data):
            yield CanaryFinding("leaked", key)
        else:
            database.execute("update canary_probe set read_back_at = now() where object_key = %s", (key,))


def _tables(store: ObjectStore, prefix: str, watch: Watch) -> Iterator[CanaryFinding]:
    for entry in store.list(prefix):
        if not entry.key.endswith(TABLES):
            continue
        data = store.get(entry.key)
        if watch.anywhere(data) or (entry.key.endswith(".parquet") and watch.in_text(_parquet_text(data))):
            yield CanaryFinding("table", entry.key)


def _parquet_text(data: bytes) -> str:
    """Every text of a Parquet file, once."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(data))
    texts: list[str] = []
    for column in table.columns:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            texts += [text for text in pc.unique(column).to_pylist() if text]
    return "\n".join(texts)


def _marked_files(folder: Path, watch: Watch) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and watch.anywhere(path.read_bytes()):
            yield path
