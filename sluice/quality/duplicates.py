"""The same pixels under two SOP Instance UIDs.

Candidates have the same partial digest (`instance.pixel_digest`, written when headers are read, indexed). Only
they are read whole, once each; `pixel_proof` keeps what was read. Different transfer syntaxes have different bytes,
so pixels that were compressed on the way are no candidates.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sluice.database import Database, copy_rows, named_query, select
from sluice.headers.whole_pixels import whole_pixels

log = logging.getLogger(__name__)

BATCH = 200  # files between two writes
MOST = 20_000  # files of one window; a vendor's test image sent by the thousand must not fill a night


class Proof(NamedTuple):
    """What the whole pixels of a file are; no digest where they cannot be read."""

    sop_instance_uid: str
    digest: bytes | None
    is_blank: bool


def prove(database: Database, archive: Path, window_key: str) -> int:
    """Read the pixels of the window's candidates that were not read before; return how many files that were."""
    with database.transaction() as connection:
        asked = {"window_key": window_key, "most": MOST}
        candidates = select(connection, named_query("quality_duplicates"), asked)
    if len(candidates) == MOST:
        log.warning("Window %s has more than %d instances whose pixels may be those of others", window_key, MOST)
    for start in range(0, len(candidates), BATCH):
        proofs = list(
            confirm(archive, [(row["sop_instance_uid"], row["path"]) for row in candidates[start : start + BATCH]])
        )
        with database.transaction() as connection:
            copy_rows(
                connection, "pixel_proof", Proof._fields, _stored(proofs), on_conflict="(sop_instance_uid) do nothing"
            )
    return len(candidates)


def _stored(proofs: Sequence[Proof]) -> Iterator[tuple[str, str | None, bool]]:
    for proof in proofs:
        yield proof.sop_instance_uid, None if proof.digest is None else f"\\x{proof.digest.hex()}", proof.is_blank


def confirm(archive: Path, files: Sequence[tuple[str, str]]) -> Iterator[Proof]:
    """The digest of the whole pixels of each file, and whether they show nothing.

    Args:
        files: SOP Instance UID and path below the archive.
    """
    for uid, path in files:
        try:
            pixels = whole_pixels(archive / path)
        except Exception as error:  # whatever a damaged file makes of a parser: then nothing is proven
            log.warning("Pixels of %s cannot be compared (%s)", uid, type(error).__name__)
            yield Proof(uid, None, False)
            continue
        yield Proof(uid, pixels and pixels.digest, pixels is not None and pixels.is_blank)
