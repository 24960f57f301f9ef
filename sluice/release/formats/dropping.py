"""Take out what was derived of objects that are not what they were; without the libraries that convert."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import select
from sluice.objects import ObjectStore


def drop_derived(
    connection: Connection,
    store: ObjectStore,
    release: dict[str, Any],
    uids: Sequence[str],
    kind: str | None = None,
    kept: Sequence[str] = (),
) -> None:
    """Take out of an unpublished release what was derived of these objects, but for the keys in `kept`.

    What an earlier version holds stays there, and is no longer named. Killed before the transaction ends, it is done
    again with whatever asked for it.

    Args:
        kind: `png` or `nifti`; both when None.
    """
    rows = select(
        connection,
        "select object_key from released_object where release_id = %(release_id)s and kind <> 'dicom' "
        "and kind = coalesce(%(kind)s, kind) and sources && %(uids)s::text[] "
        "and not object_key = any(%(kept)s::text[])",
        {"release_id": release["release_id"], "kind": kind, "uids": list(uids), "kept": list(kept)},
    )
    gone = [row["object_key"] for row in rows]
    if gone:
        store.delete([key for key in gone if key.startswith(release["prefix"])])
        with connection.cursor() as cursor:
            cursor.execute(
                "delete from released_object where release_id = %s and object_key = any(%s)",
                (release["release_id"], gone),
            )
