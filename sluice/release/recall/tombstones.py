"""`recalled.json`: what a release no longer holds, for whoever has a copy of it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sluice.objects import ObjectStore, ObjectStoreError

FORMAT = "sluice-recall/1"
NAME = "recalled.json"
TOLD = {
    "withdrawn": "Consent has ended, or a person objects to the use.",
    "error": "They should not have been released.",
}


def write_tombstones(store: ObjectStore, release: dict[str, Any], recalled: list[dict[str, Any]]) -> str:
    """Write what was recalled of a release beside its manifest; return the SHA-256 of what stands there.

    Keys and digests only: a pseudonym is the most that stands in them. The same recalls give the same bytes.

    Raises:
        ObjectStoreError: the bucket cannot be used.
    """
    body = json.dumps(tombstones(release, recalled), indent=1, sort_keys=True).encode()
    key = release["prefix"] + NAME
    digest = store.put(key, body, "application/json")
    if hashlib.sha256(store.get(key)).hexdigest() != digest:
        raise ObjectStoreError(f"{key} does not read back as it was written. Run the recall again.")
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
