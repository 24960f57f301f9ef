"""Synthetic patients that every release has to take along, and of whom nothing may be seen. The doors of this room.

    add(database, site, project, by)                     # makes one and brings it in by the normal door
    probe(database, store, release, produce)             # in every part of an export, before anything is uploaded
    check(database, store, release_id)                   # -> findings; before the manifest
    watch_of(database, release_id)                       # to look through what is about to be written

Canaries go through the same code, process and bucket as patients, into `<project>/probe-v<N>/`; they are members of no
release, so no table, manifest or researcher sees them (docs/decisions/0018-identities.md).
"""

from __future__ import annotations

from sluice.release.canaries.adding import CanaryError, add, canaries_of, retire
from sluice.release.canaries.checking import CanaryFinding, check, probe, seen_in_logs, watch_of
from sluice.release.canaries.making import REGION

__all__ = [
    "REGION",
    "CanaryError",
    "CanaryFinding",
    "add",
    "canaries_of",
    "check",
    "probe",
    "retire",
    "seen_in_logs",
    "watch_of",
]
