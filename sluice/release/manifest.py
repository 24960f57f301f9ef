"""What `manifest.json` says of a version: whence it is, what was done, what it holds and why the rest is not in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sluice.cohorts.errors import ExpressionError
from sluice.cohorts.expressions import sensitive_names
from sluice.cohorts.language import parse
from sluice.cohorts.promoted import registry_of
from sluice.database import Database
from sluice.release.listing import INDEX, SUMS, Listed, file_entry
from sluice.release.signing import SigningKey

FORMAT = "sluice-release/2"


def manifest(
    database: Database,
    release: dict[str, Any],
    contained: list[dict[str, Any]],
    counts: dict[str, Any],
    models: list[dict[str, Any]],
    report: dict[str, Any],
    listed: Listed,
    root: Path,
    place: Path,
    tables: list[Path],
    key: SigningKey,
) -> dict[str, Any]:
    """The manifest of a version but for its revision.

    Args:
        release: as `sql/queries/release_state.sql` gives it, with `approval`.
        contained, counts, models: rows of the queries of these names.
        report: of `sluice.release.anonymity.assess`.
        root, place: folder of the version's own files, and in it that of this revision's.
    """
    previous = release["previous"]
    return {
        "format": FORMAT,
        "project": release["project"],
        "version": release["version"],
        "line": release["line"],
        "window": release["window_key"],
        "filter": release["asked"],
        "cohort": _cohort(database, release["cohort"]),
        "prepared_at": release["started_at"].isoformat(),
        "verified_at": release["verified_at"].isoformat(),
        "approval": release["approval"],
        "profile": release["profile"],
        "engines": listed.engines,
        "member_digest": release["member_digest"],
        "models": models,
        "counts": counts | {"formats": _formats(database, release["release_id"])},
        "anonymity": {name: value for name, value in report.items() if name != "rare"},
        "contains": [
            {"version": row["version"], "window": row["window_key"], "manifest_sha256": row["manifest_sha256"]}
            for row in sorted(contained, key=lambda row: row["version"])
        ],
        "previous": previous and {name: previous[name] for name in ("version", "manifest_sha256")},
        "added": listed.added,
        "removed": listed.removed,
        "objects": listed.kinds,
        "sums": file_entry(root, place / SUMS),
        "files": [file_entry(root, path) for path in (*tables, place / INDEX)],
        "signed_by": {"key_id": key.key_id, "algorithm": "Ed25519"},
    }


def _formats(database: Database, release_id: int) -> dict[str, Any]:
    """What was made, and why the rest was not: counts by kind and reason, of this version's own members."""
    found: dict[str, Any] = {}
    for row in database.rows("release_derivations", {"release_id": release_id}):
        kind = found.setdefault(row["kind"], {"made": 0, "not": {}})
        if row["reason_code"] is None:
            kind["made"] = row["number"]
        else:
            kind["not"][row["reason_code"]] = row["number"]
    return found


def _cohort(database: Database, cohort: dict[str, Any] | None) -> dict[str, Any] | None:
    """The frozen version as the manifest names it, without its filter. Of a filter that names patients the digest would
    tell whoever tries one Patient ID after the other which it was; it is left out."""
    if cohort is None:
        return None
    try:
        told = not sensitive_names(parse(cohort["expression"], registry_of(database)))
    except ExpressionError:  # a promoted column that is no more: nobody knows
        told = False
    named = {name: value for name, value in cohort.items() if name != "expression"}
    return named | {"filter_digest": named["filter_digest"] if told else None}


def counts_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows of `sql/queries/release_counts.sql` as the manifest has them."""
    return dict(rows[0]) if rows else {}
