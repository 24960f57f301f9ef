"""Who read a release, by the bucket's own access log (S3 server access logs, one line a request)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import unquote_plus

from sluice.database import Database, copy_rows, select

# owner bucket [time] remote-ip requester request-id operation key …
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/LogFormat.html
LINE = re.compile(r"\S+ (\S+) \[([^\]]+)\] \S+ (\S+) \S+ REST\.GET\.OBJECT (\S+) \"[^\"]*\" (2\d\d) ")
WHEN = "%d/%b/%Y:%H:%M:%S %z"


@dataclass
class _Reader:
    first_at: datetime
    last_at: datetime
    keys: set[str]


def note_accesses(database: Database, lines: Iterable[str], ours: frozenset[str] = frozenset()) -> int:
    """Keep who read objects of which release; return how many readers of releases the lines name.

    Args:
        lines: of the log; other operations than reading an object are passed over.
        ours: requesters who are Sluice itself, which reads back what it wrote.
    """
    with database.transaction() as connection:
        releases = {
            (row["bucket"], row["prefix"]): row["release_id"]
            for row in select(connection, "select release_id, bucket, prefix from release")
        }
    seen: dict[tuple[int, str], _Reader] = {}
    for line in lines:
        found = LINE.match(line)
        if not found or found[3] in ours:
            continue
        key = unquote_plus(unquote_plus(found[4]))  # the log encodes a key twice
        release_id = releases.get((found[1], "/".join(key.split("/")[:2]) + "/"))
        if release_id is None:
            continue
        at = datetime.strptime(found[2], WHEN)
        reader = seen.setdefault((release_id, found[3]), _Reader(at, at, set()))
        reader.first_at, reader.last_at = min(reader.first_at, at), max(reader.last_at, at)
        reader.keys.add(key)
    with database.transaction() as connection:
        copy_rows(
            connection,
            "release_access",
            ("release_id", "requester", "first_at", "last_at", "objects"),
            [
                (release_id, requester, reader.first_at, reader.last_at, len(reader.keys))
                for (release_id, requester), reader in seen.items()
            ],
            "(release_id, requester) do update set first_at = least(release_access.first_at, excluded.first_at), "
            "last_at = greatest(release_access.last_at, excluded.last_at), "
            "objects = greatest(release_access.objects, excluded.objects)",
        )
    return len(seen)
