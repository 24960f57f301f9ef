"""The index of canonical images in Postgres: where each stands, what of its film it shows, or why there is none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sluice.canonical.shards import DETAIL_SIDE, RECORD, SIDE, Place, ShardReader, ShardWriter
from sluice.database import Database, copy_rows, select

if TYPE_CHECKING:
    from sluice.canonical.shards import Pixels

COLUMNS = (
    "sop_instance_uid", "recipe", "shard_id", "offset_bytes", "length_bytes", "digest", "source_rows", "source_columns",
    "crop_row", "crop_column", "crop_rows", "crop_columns", "windowing", "reason_code", "detail",
)  # fmt: skip
# The first decode stays. Of an older recipe, or a reason where there is a picture now, it gives way.
ON_CONFLICT = """(sop_instance_uid) do update set {columns}, decoded_at = now()
 where canonical_image.recipe < excluded.recipe
    or (canonical_image.recipe = excluded.recipe and canonical_image.shard_id is null)""".format(
    columns=", ".join(f"{name} = excluded.{name}" for name in COLUMNS[1:])
)


@dataclass(frozen=True)
class Geometry:
    """What of a film its canonical image shows.

    Attributes:
        rows, columns: of the stored frame, pixels.
        crop_row, crop_column, crop_rows, crop_columns: what of it is shown, pixels of the frame. The longer side fills
            the 512 pixels of the canonical image, the shorter one stands in their middle.
    """

    rows: int
    columns: int
    crop_row: int
    crop_column: int
    crop_rows: int
    crop_columns: int

    def in_frame(self, x: float, y: float) -> tuple[float, float]:
        """Column and row in the stored frame of a place in the canonical image, pixels."""
        scale = SIDE / max(self.crop_rows, self.crop_columns)
        left = (SIDE - round(self.crop_columns * scale)) // 2
        top = (SIDE - round(self.crop_rows * scale)) // 2
        return self.crop_column + (x - left) / scale, self.crop_row + (y - top) / scale


@dataclass(frozen=True)
class MadePicture:
    """A canonical image, just made: uint8 `(512, 512)`."""

    sop_instance_uid: str
    pixels: Pixels
    geometry: Geometry
    windowing: str


@dataclass(frozen=True)
class NoPicture:
    """An instance without one. `detail` says what is wrong without naming any element's value."""

    sop_instance_uid: str
    reason_code: str
    detail: str


def keep(database: Database, writer: ShardWriter, recipe: int, made: Sequence[MadePicture | NoPicture]) -> int:
    """Append pictures to a shard, then write the index of them, and of those that there are not.

    Killed at any moment, no row points to bytes that are not on the disk. Again, or by two at once: the first stays.

    Returns:
        Rows that are new or were made anew.

    Raises:
        ShardError: the shard cannot be written.
    """
    by_uid = {one.sop_instance_uid: one for one in made}
    pictures = [one for one in by_uid.values() if isinstance(one, MadePicture)]
    places = dict(
        zip((one.sop_instance_uid for one in pictures), writer.append([p.pixels for p in pictures]), strict=True)
    )
    rows: list[tuple[object, ...]] = []
    for uid in sorted(by_uid):  # two at once lock in one order
        one = by_uid[uid]
        if isinstance(one, MadePicture):
            place, seen = places[uid], one.geometry
            shown = (seen.rows, seen.columns, seen.crop_row, seen.crop_column, seen.crop_rows, seen.crop_columns)
            at = (place.shard_id, place.offset, RECORD, place.digest)
            rows.append((uid, recipe, *at, *shown, one.windowing, None, None))
        else:
            rows.append((uid, recipe, *(None,) * 11, one.reason_code, one.detail))
    with database.transaction() as connection:
        return copy_rows(connection, "canonical_image", COLUMNS, rows, ON_CONFLICT)


TABLES = {SIDE: "canonical_image", DETAIL_SIDE: "detail_image"}
"""What points to pictures, by their side."""


def lost(database: Database, places: Iterable[tuple[str, Place]], side: int = SIDE) -> int:
    """Forget pictures whose bytes are gone, so that they are made again; returns how many were still pointed to."""
    forgotten = 0
    with database.transaction() as connection, connection.cursor() as cursor:
        for uid, place in sorted(places, key=lambda pair: pair[0]):
            cursor.execute(
                f"delete from {TABLES[side]} where sop_instance_uid = %s and shard_id = %s and offset_bytes = %s",
                (uid, place.shard_id, place.offset),
            )
            forgotten += cursor.rowcount
    return forgotten


def place_of(database: Database, sop_instance_uid: str) -> Place | None:
    """Where an instance's picture stands; None where it has none."""
    rows = database.rows("canonical_place", {"sop_instance_uid": sop_instance_uid})
    return Place(rows[0]["shard_id"], rows[0]["offset_bytes"], bytes(rows[0]["digest"])) if rows else None


def picture_of(database: Database, root: Path, sop_instance_uid: str) -> Pixels | None:
    """An instance's canonical image, uint8 `(512, 512)`; None where it has none.

    Asked twice where the bytes are not there: they may have been moved since the index was read.
    """
    for _ in range(2):
        place = place_of(database, sop_instance_uid)
        if place is None:
            return None
        with ShardReader(root) as reader:
            picture = reader.picture(place)
            if picture is not None:
                return picture.copy()
    return None


def geometry_of(database: Database, sop_instance_uids: Sequence[str]) -> dict[str, Geometry]:
    """What of their films the canonical images show, of those that there are."""
    names = ("crop_row", "crop_column", "crop_rows", "crop_columns")
    with database.transaction() as connection:
        rows = select(
            connection,
            "select sop_instance_uid, source_rows, source_columns, crop_row, crop_column, crop_rows, crop_columns "
            "from canonical_image where sop_instance_uid = any(%s) and shard_id is not null",
            (list(sop_instance_uids),),
        )
    return {
        row["sop_instance_uid"]: Geometry(row["source_rows"], row["source_columns"], *(row[name] for name in names))
        for row in rows
    }
