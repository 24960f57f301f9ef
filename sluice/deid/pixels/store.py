"""Screenings in Postgres: what still has to be looked at, and what was found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import Database, copy_rows, named_query, select
from sluice.deid.pixels.policy import PixelPolicy
from sluice.deid.pixels.reader import screener
from sluice.deid.pixels.rectangle import Rectangle
from sluice.deid.pixels.sampling import FILMS, SLICES
from sluice.deid.pixels.screening import Screened, Screening


@dataclass(frozen=True)
class Unseen:
    """An instance that has to be looked at: its file, relative to the archive, and the digest it was received with."""

    sop_instance_uid: str
    path: str
    sha256: str


def unseen(database: Database, release_id: int, first: int, last: int, policy: PixelPolicy) -> list[Unseen]:
    """What of a part of a release, members by receipt id `first` to `last`, has to be looked at and was not yet."""
    asked = {
        "release_id": release_id,
        "first": first,
        "last": last,
        "one_in": policy.one_in,
        "slices": sorted(SLICES),
        "screener": screener(),
    }
    return [Unseen(**row) for row in database.rows("pixels_to_screen", asked)]


def store(database: Database, screened: Iterable[tuple[str, Screened]]) -> None:
    """Keep what was found, by SOP Instance UID. What another process stored of an instance meanwhile stays."""
    name = screener()
    rows = list(screened)
    with database.transaction() as connection:
        for uid, one in rows:
            if _begin(connection, uid, name, one):
                copy_rows(connection, "pixel_text", _COLUMNS, _texts(uid, name, one))


_COLUMNS = (
    "sop_instance_uid", "screener", "number", "frame", "box_left", "box_top", "box_width", "box_height", "score",
    "is_marker", "said",
)  # fmt: skip


def _begin(connection: Connection, uid: str, name: str, one: Screened) -> bool:
    """Write the row of the screening; whether it is ours."""
    markers = sum(found.is_marker for found in one.found)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            insert into pixel_screening (sop_instance_uid, screener, frames, image_rows, image_columns, failed, found,
                                         markers)
            values (%s, %s, %s, %s, %s, %s, %s, %s) on conflict do nothing
            """,
            (uid, name, list(one.frames), one.rows, one.columns, one.failed, len(one.found) - markers, markers),
        )
        return bool(cursor.rowcount)


def _texts(uid: str, name: str, one: Screened) -> list[Sequence[Any]]:
    return [
        (uid, name, number, found.frame, found.box.left, found.box.top, found.box.width, found.box.height, found.score,
         found.is_marker, found.text.replace("\0", ""))
        for number, found in enumerate(one.found)
    ]  # fmt: skip


def screenings(connection: Connection, uids: Sequence[str], policy: PixelPolicy) -> dict[str, Screening]:
    """What is known of the pixels of instances, by SOP Instance UID."""
    asked = {
        "uids": list(uids),
        "one_in": policy.one_in,
        "slices": sorted(SLICES),
        "films": sorted(FILMS),
        "screener": screener(),
    }
    return {
        row["sop_instance_uid"]: Screening(
            row["is_complete"], tuple(Rectangle(*box) for box in row["boxes"]), row["failed"], row["region_key"]
        )
        for row in select(connection, named_query("pixel_screenings"), asked)
    }
