"""Detail images: 1,024 pixels of a film that may show what is too fine for its canonical image.

They stand in shards of their own and are kept, taken out and made again like canonical images. A film whose frame has
fewer pixels has none: its canonical image, enlarged, is all that there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sluice.canonical.shards import ShardWriter
from sluice.database import Database, copy_rows

if TYPE_CHECKING:
    from sluice.canonical.shards import Pixels

COLUMNS = ("sop_instance_uid", "recipe", "shard_id", "offset_bytes", "digest")
# The first decode stays; one of an older recipe gives way.
ON_CONFLICT = """(sop_instance_uid) do update set {columns}, decoded_at = now()
 where detail_image.recipe < excluded.recipe""".format(columns=", ".join(f"{n} = excluded.{n}" for n in COLUMNS[1:]))


@dataclass(frozen=True)
class MadeDetail:
    """A detail image, just made: uint8 `(1024, 1024)`; None where the film shows no more than its canonical image."""

    sop_instance_uid: str
    pixels: Pixels | None


def keep_details(database: Database, writer: ShardWriter, recipe: int, made: Sequence[MadeDetail]) -> int:
    """Append detail images to a shard, then write the index of them; as `sluice.canonical.index.keep`.

    Returns:
        Rows that are new or were made anew.

    Raises:
        ShardError: the shard cannot be written.
    """
    by_uid = {one.sop_instance_uid: one for one in made}
    pictures = {uid: one.pixels for uid, one in by_uid.items() if one.pixels is not None}
    places = dict(zip(pictures, writer.append(list(pictures.values())), strict=True))
    rows: list[tuple[object, ...]] = []
    for uid in sorted(by_uid):  # two at once lock in one order
        place = places.get(uid)
        rows.append((uid, recipe, *((place.shard_id, place.offset, place.digest) if place else (None,) * 3)))
    with database.transaction() as connection:
        return copy_rows(connection, "detail_image", COLUMNS, rows, ON_CONFLICT)
