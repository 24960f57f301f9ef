"""How far requests are: one query each, whatever their size; rows of a list some at a time, without identifiers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sluice.cohorts.lists import words_for
from sluice.database import Database

STEPS = ("received", "extracted", "checked")
LEAST_SHARE = 0.05  # of the work done before its pace says when the rest will be


def requests(
    database: Database, projects: Sequence[str] | None, before: int | None = None, size: int = 20
) -> list[dict[str, Any]]:
    """Requests of some projects, or of all, newest first."""
    asked = {"projects": list(projects) if projects is not None else None, "before": before, "size": size}
    return database.rows("requests", asked | {"request_id": None})


def one_request(database: Database, request_id: int) -> dict[str, Any] | None:
    """One request, if there is one of this number."""
    found = database.rows("requests", {"projects": None, "request_id": request_id, "before": None, "size": 1})
    return found[0] if found else None


def progress(database: Database, request: dict[str, Any], now: datetime | None = None) -> dict[str, Any]:
    """Instances of a request by step, with `share` (0 to 1), `state`, and `ready_at` where it can be told."""
    asked = {name: request[name] for name in ("kind", "window_key", "version_id", "list_id", "project", "profile")}
    (row,) = database.rows("request_progress", asked)
    release = row["release"]
    share = _share(row, request["instances"])
    state = _state(row, bool(request["runs"]))
    return row | {
        "share": share,
        "state": state,
        "ready_at": _ready_at(request, share, state, now or datetime.now(UTC)),
        "prefix": f"{release['bucket']}/{release['prefix']}" if release else None,
        "pull": f"sluice pull s3://{release['bucket']}/{release['prefix']} data" if release else None,
    }


def rows(database: Database, request: dict[str, Any], after: int, size: int) -> tuple[list[dict[str, Any]], int | None]:
    """Rows of the request's list by line, each with its answer in words and how far its instances are."""
    asked = {name: request[name] for name in ("list_id", "project", "window_key", "profile")}
    found = database.rows("request_rows", asked | {"after": after, "size": size + 1})
    shown = [_shown(row) for row in found[:size]]
    return shown, found[size - 1]["line"] if len(found) > size else None


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    number = row.pop("is_number")
    return row | {"words": words_for(row | {"accession": "0" if number else None}), "state": _state_of_row(row)}


def _state_of_row(row: dict[str, Any]) -> str:
    answer: str = row["answer"]
    if answer in ("refused", "not-found"):
        return answer
    if not row["studies"]:
        return "asking"
    expected = max(row["instances_listed"], row["received"])
    if row["released"] and row["released"] + row["held"] >= row["received"]:
        return "released" if row["received"] >= expected else "released in part"
    if row["held"] and not row["released"]:
        return "held"
    for step, state in (("checked", "checked"), ("extracted", "extracted")):
        if row[step] and row[step] >= expected:
            return state
    if row["received"] >= expected > 0:
        return "moved"
    return "moving" if row["received"] else "found"


def _share(row: dict[str, Any], estimated: int) -> float:
    """Each instance passes four steps: received, extracted, checked, and then released, held, or left out."""
    release = row["release"]
    if release and release["published_at"]:
        return 1.0
    total = row["found"] or estimated
    if not total:
        return 0.0
    settled: int = row["exported"] + sum(one["instances"] for one in row["why"])
    done: int = sum(row[step] for step in STEPS)
    return float(min(0.99, (done + settled) / (4 * total)))


def _state(row: dict[str, Any], begun: bool) -> str:
    release = row["release"]
    if release and release["published_at"]:
        return "released"
    if release and release["verified_at"]:
        return "waits for approval"
    if release:
        return "being released"
    if row["found"] and row["checked"] >= row["found"]:
        return "checked"
    if row["received"]:
        return "being fetched" if row["received"] < row["found"] else "being extracted"
    if row["found"]:
        return "found"
    return "begun" if begun else "not begun"


def _ready_at(request: dict[str, Any], share: float, state: str, now: datetime) -> datetime | None:
    """By its own pace once some of it is done, before that as it was estimated."""
    if state in ("released", "waits for approval"):
        return None
    if share >= LEAST_SHARE:
        spent = (now - request["asked_at"]).total_seconds()
        return now + timedelta(seconds=spent * (1 - share) / share)
    told = request["estimate"].get("ready_at")
    return datetime.fromisoformat(told) if told else None
