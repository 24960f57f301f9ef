"""Pictures that may not be kept are taken out, and the room of bytes that nothing points to is given back.

A picture goes with its index row first; then its bytes become a hole in the file, which takes no room on the disk and
reads as zeros (where the file system has no holes, zeros are written). Who is killed in between leaves bytes without a
row, as a killed writer does: `compact` finds them, by looking at every shard that nobody holds.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sluice.canonical.index import TABLES, lost
from sluice.canonical.shards import DETAIL_SIDE, Place, ShardReader, ShardWriter, held_file, shard_path
from sluice.database import Database, named_query, select
from sluice.ivc_filters.gate import BESIDE_CAVA, SHOWS_CAVA

KEEP_SIZE_PUNCH_HOLE = 0x01 | 0x02  # fallocate(2)
SPARSE = 0.5
"""A sealed shard is written anew when less of its records than this are still pointed to."""


@dataclass
class UpkeepSummary:
    """What `compact` did.

    Attributes:
        removed: instances whose pictures were taken out: opted out everywhere, or not in the archive any more.
        unwanted: detail images taken out, because their film turned out to show nothing that needs them.
        emptied: records whose room was given back.
        moved: pictures written into another shard.
        dropped: shards that are gone.
        old_files: PNG files of an older form, deleted.
        skipped: shards that somebody writes.
    """

    removed: int = 0
    unwanted: int = 0
    emptied: int = 0
    moved: int = 0
    dropped: int = 0
    old_files: int = 0
    skipped: int = 0

    def as_dict(self) -> dict[str, int]:
        """The summary as XCom carries it."""
        return asdict(self)


def remove(
    database: Database, root: Path, sop_instance_uids: Sequence[str], sides: Iterable[int] = tuple(TABLES)
) -> int:
    """Take out the pictures of instances, rows and bytes, of some sides alone where asked; of how many instances."""
    instances: set[str] = set()
    for side in sides:
        with database.transaction() as connection:
            rows = select(
                connection,
                f"delete from {TABLES[side]} where sop_instance_uid = any(%s) "
                "returning sop_instance_uid, shard_id, offset_bytes",
                (list(sop_instance_uids),),
            )
        instances |= {row["sop_instance_uid"] for row in rows}
        gone = [(row["shard_id"], row["offset_bytes"]) for row in rows if row["shard_id"] is not None]
        for shard_id in sorted({shard for shard, _ in gone}):
            try:
                file = os.open(shard_path(root, shard_id), os.O_RDWR)
            except FileNotFoundError:
                continue
            try:
                _empty(file, [offset for shard, offset in gone if shard == shard_id], side * side)
            finally:
                os.close(file)
    return len(instances)


def remove_unwanted(database: Database, root: Path) -> int:
    """Take out detail images, kept because a header let it seem so, whose film cannot show a filter; how many."""
    asked = {"labels": list(SHOWS_CAVA), "beside": list(BESIDE_CAVA)}
    uids = [row["sop_instance_uid"] for row in database.rows("detail_unwanted", asked)]
    return remove(database, root, uids, (DETAIL_SIDE,)) if uids else 0


def remove_withdrawn(database: Database, root: Path) -> int:
    """Take out the pictures of what is opted out for every project, or is not in the archive; returns how many."""
    uids = [row["sop_instance_uid"] for row in database.rows("canonical_withdrawn")]
    return remove(database, root, uids) if uids else 0


def compact(database: Database, root: Path) -> UpkeepSummary:
    """Take out what may not be kept, give back the room of bytes that nothing points to, and drop empty shards.

    Shards that a writer holds are left to the next time. To be run by one at a time; readers and writers go on.
    """
    done = UpkeepSummary(
        remove_withdrawn(database, root), remove_unwanted(database, root), old_files=_delete_old_files(root)
    )
    with database.transaction() as connection:
        shards = select(
            connection, "select shard_id, side, sealed_at is not null as sealed from canonical_shard order by shard_id"
        )
    for shard in shards:
        path = shard_path(root, shard["shard_id"])
        file = held_file(path)
        if file is None:
            done.skipped += path.exists()
            continue
        try:
            _compact_shard(database, root, shard, file, done)
        finally:
            os.close(file)
    return done


def _compact_shard(database: Database, root: Path, shard: dict[str, Any], file: int, done: UpkeepSummary) -> None:
    """One shard that we hold: nobody appends to it meanwhile."""
    shard_id, side, sealed = shard["shard_id"], shard["side"], shard["sealed"]
    live = _pointed_to(database, shard_id)
    size = os.fstat(file).st_size
    records = range(0, size, side * side)
    if sealed and 0 < len(live) < SPARSE * len(records):
        done.moved += _move(database, root, live, side)
        live = _pointed_to(database, shard_id)
    if not live:
        with database.transaction() as connection, connection.cursor() as cursor:
            cursor.execute("delete from canonical_shard where shard_id = %s", (shard_id,))
        shard_path(root, shard_id).unlink(missing_ok=True)
        done.dropped += 1
        return
    kept = {place.offset for _, place in live}
    done.emptied += _empty(file, [offset for offset in records if offset not in kept], side * side)


def _pointed_to(database: Database, shard_id: int) -> list[tuple[str, Place]]:
    with database.transaction() as connection:
        rows = select(connection, named_query("canonical_in_shard"), {"shard_id": shard_id})
    return [(row["sop_instance_uid"], Place(shard_id, row["offset_bytes"], bytes(row["digest"]))) for row in rows]


def _move(database: Database, root: Path, live: list[tuple[str, Place]], side: int) -> int:
    """Write pictures into another shard and point to them there; one that is damaged is forgotten and made again."""
    moved = 0
    with ShardWriter(database, root, side=side) as writer, ShardReader(root, side) as reader:
        for uid, old in live:
            picture = reader.picture(old)
            if picture is None:
                lost(database, [(uid, old)], side)
                continue
            (new,) = writer.append([picture])
            moved += database.execute(
                f"update {TABLES[side]} set shard_id = %s, offset_bytes = %s "
                "where sop_instance_uid = %s and shard_id = %s and offset_bytes = %s",
                (new.shard_id, new.offset, uid, old.shard_id, old.offset),
            )
    return moved


def _empty(file: int, offsets: Iterable[int], record: int) -> int:
    """Make holes of records; returns how many held anything."""
    emptied = 0
    size = os.fstat(file).st_size
    for offset in offsets:
        if _is_hole(file, offset, min(offset + record, size)):
            continue
        if not _punched(file, offset, record):
            os.pwrite(file, bytes(min(record, size - offset)), offset)
        emptied += 1
    if emptied:
        os.fdatasync(file)
    return emptied


def _is_hole(file: int, offset: int, end: int) -> bool:
    try:
        return os.lseek(file, offset, os.SEEK_DATA) >= end
    except OSError:  # no data from there on
        return True


def _punched(file: int, offset: int, record: int) -> bool:
    call = _fallocate()
    return call is not None and call(file, KEEP_SIZE_PUNCH_HOLE, offset, record) == 0


@cache
def _fallocate() -> ctypes._NamedFuncPointer | None:
    library = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
    call = getattr(library, "fallocate", None)
    if call is not None:
        call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return call


def _delete_old_files(root: Path) -> int:
    """PNG files that stood here before there were shards: `ab/cd/<digest>.png`."""
    deleted = 0
    for path in root.glob("[0-9a-f][0-9a-f]/[0-9a-f][0-9a-f]/*.png"):
        path.unlink(missing_ok=True)
        deleted += 1
    return deleted
