"""`recalled.json`: what a release no longer holds, for whoever has a copy of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from sluice.objects import ObjectStore, ObjectStoreError
from sluice.release.signing import signing_key
from sluice.settings import settings

FORMAT = "sluice-recall/1"
NAME, SIGNED = "recalled.json", ".sig"
TOLD = {
    "withdrawn": "Consent has ended, or a person objects to the use.",
    "error": "They should not have been released.",
}


def write_tombstones(
    store: ObjectStore, release: dict[str, Any], recalled: list[dict[str, Any]], keys: Path | None = None
) -> str:
    """Write what was recalled of a release beside its manifest, signed with the same key; return its SHA-256.

    Keys and digests only: a pseudonym is the most that stands in them. The same recalls give the same bytes.

    Raises:
        ObjectStoreError: the bucket cannot be used.
    """
    body = json.dumps(tombstones(release, recalled), indent=1, sort_keys=True).encode()
    key = release["prefix"] + NAME
    signature = signing_key(keys or settings().keys).sign(body)
    if store.size(key) is not None and store.get(key) == body and store.get(key + SIGNED) == signature:
        return hashlib.sha256(body).hexdigest()
    # While it changes, both signatures stand there, as with a manifest.
    before = store.get(key + SIGNED)[:64] if store.size(key + SIGNED) is not None else b""
    store.put(key + SIGNED, signature + before)
    digest = store.put(key, body, "application/json")
    if hashlib.sha256(store.get(key)).hexdigest() != digest:
        raise ObjectStoreError(f"{key} does not read back as it was written. Run the recall again.")
    store.put(key + SIGNED, signature)
    return digest


def tombstones(release: dict[str, Any], recalled: list[dict[str, Any]]) -> dict[str, Any]:
    """The document."""
    return {
        "format": FORMAT,
        "project": release["project"],
        "version": release["version"],
        "revision": max(row["revision"] for row in recalled),
        "what_to_do": "Delete every copy of these objects and of all that was made of them, and say so to who sent you "
        "the release. The manifest beside this file names what is still released.",
        "objects": [
            {
                "key": row["object_key"],
                "sha256": row["sha256"],
                "recalled_at": row["ordered_at"].isoformat(),
                "reason": row["reason"],
                "words": TOLD[row["reason"]],
            }
            for row in recalled
        ],
    }
