"""Publish a release: its table, then its manifest, last of all. Without manifest a reader sees no release."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import asdict, dataclass
from typing import Any

from sluice.cohorts.errors import ExpressionError
from sluice.cohorts.expressions import sensitive_names
from sluice.cohorts.language import parse
from sluice.cohorts.promoted import registry_of
from sluice.database import Database, named_query, select
from sluice.objects import ObjectStore
from sluice.release.columns import NAMES
from sluice.release.plan import ReleaseError
from sluice.release.review.approval import standing

FORMAT = "sluice-release/1"
PREDICTIONS = ("body_part", "body_part_score", "ivc_filter", "ivc_filter_score")


@dataclass(frozen=True)
class PublishSummary:
    """A published release.

    Attributes:
        objects: DICOM files in it.
        manifest_key, manifest_sha256: where the manifest is, and what it must hash to.
        counts: of instances at every stage, with reasons for what is not in it.
    """

    release_id: int
    project: str
    version: int
    objects: int
    manifest_key: str
    manifest_sha256: str
    counts: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The summary as XCom carries it."""
        return asdict(self)


def publish(database: Database, store: ObjectStore, release_id: int) -> PublishSummary:
    """Write `instances.csv`, then `manifest.json`, then note the publication. Again: nothing changes.

    Raises:
        ReleaseError: the release was not verified since its last upload, or not approved as its project asks.
        ObjectStoreError: the bucket cannot be used.
    """
    with database.transaction() as connection:
        found = select(
            connection,
            """
            select r.*,
                   (select max(uploaded_at) from released_object o where o.release_id = r.release_id) as last_upload,
                   (select count(*) from release_member m
                      left join released_object o using (release_id, sop_instance_uid)
                     where m.release_id = r.release_id and m.held_reason is null and o.uploaded_at is null) as open,
                   (select jsonb_build_object('name', c.name, 'version', v.version, 'filter_digest', v.digest,
                                              'member_digest', v.member_digest, 'frozen_by', v.frozen_by,
                                              'expression', v.expression)
                      from cohort_version v join cohort c using (cohort_id)
                     where v.version_id = r.cohort_version_id) as cohort
              from release r where release_id = %s
            """,
            (release_id,),
        )
        if not found:
            raise ReleaseError(f"There is no release {release_id}. Run prepare first.")
        release = found[0]
        review = standing(connection, release_id)
        rows = select(connection, named_query("release_instances"), {"release_id": release_id})
        counts = _counts(select(connection, named_query("release_counts"), {"release_id": release_id}))
    if release["published_at"] is not None:
        return _summary(release, len(rows), counts, release["manifest_key"], release["manifest_sha256"])
    if release["open"]:
        raise ReleaseError(f"{release['open']} members are neither uploaded nor held. Run export_batch again.")
    verified, last_upload = release["verified_at"], release["last_upload"]
    if verified is None or (last_upload is not None and verified < last_upload):
        raise ReleaseError("The release was not verified since its last upload. Run verify, then publish.")
    if review.state not in ("not-needed", "approved"):
        raise ReleaseError(
            f"The release is rejected by {review.rejected_by}: {review.reason}"
            if review.state == "rejected"
            else f"The release waits for approval. {review.lacks} See the page Review."
        )
    release["review"] = {"digest": review.digest, "approvals": len(review.approved_by), "needed": review.needed}
    release["cohort"] = _cohort(database, release["cohort"])
    table = instances_csv(rows).encode()
    table_key = release["prefix"] + "instances.csv"
    manifest = _manifest(release, rows, counts, table_key, table)
    body = json.dumps(manifest, indent=1, sort_keys=True).encode()
    manifest_key = release["prefix"] + "manifest.json"
    store.put(table_key, table, "text/csv; charset=utf-8")
    if hashlib.sha256(store.get(table_key)).hexdigest() != hashlib.sha256(table).hexdigest():
        raise ReleaseError(f"{table_key} does not read back as it was written. Run publish again.")
    digest = store.put(manifest_key, body, "application/json")
    database.execute(
        "update release set manifest_key = %s, manifest_sha256 = %s, published_at = now() "
        "where release_id = %s and published_at is null",
        (manifest_key, digest, release_id),
    )
    return _summary(release, len(rows), counts, manifest_key, digest)


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


def instances_csv(rows: list[dict[str, Any]]) -> str:
    """The table of a release: one row an object, pseudonymous columns, newest predictions."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("object_key", *NAMES, *PREDICTIONS))
    for row in rows:
        columns = row["columns"]
        writer.writerow(
            (
                row["object_key"],
                *("" if columns.get(name) is None else columns[name] for name in NAMES),
                *(_shown(row[name]) for name in PREDICTIONS),
            )
        )
    return buffer.getvalue()


def _shown(value: Any) -> Any:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else value


def _manifest(
    release: dict[str, Any], rows: list[dict[str, Any]], counts: dict[str, Any], table_key: str, table: bytes
) -> dict[str, Any]:
    models = {row[name] for row in rows for name in ("body_part_model", "ivc_filter_model") if row[name]}
    return {
        "format": FORMAT,
        "project": release["project"],
        "version": release["version"],
        "window": release["window_key"],
        "cohort": release["cohort"],
        "prepared_at": release["started_at"].isoformat(),
        "verified_at": release["verified_at"].isoformat(),
        "profile": release["profile"],
        "member_digest": release["member_digest"],
        "models": sorted(models),
        "review": release["review"],
        "counts": counts,
        "tables": [{"key": table_key, "bytes": len(table), "sha256": hashlib.sha256(table).hexdigest()}],
        "objects": [{"key": row["object_key"], "bytes": row["bytes"], "sha256": row["sha256"]} for row in rows],
    }


def _counts(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return dict(rows[0]) if rows else {}


def _summary(
    release: dict[str, Any], objects: int, counts: dict[str, Any], manifest_key: str, digest: str
) -> PublishSummary:
    return PublishSummary(
        release["release_id"], release["project"], release["version"], objects, manifest_key, digest, counts
    )
