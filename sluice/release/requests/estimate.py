"""How much a request is and how long it takes, before anything moves: what is here, what has to come within the PACS's
hours and pace, and de-identification and upload by the rates of past releases."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.cohorts.preview import ToFetch, of_pacs, preview
from sluice.database import Database, named_query, select
from sluice.release.requests.form import Wanted


@dataclass(frozen=True)
class Estimate:
    """What a request will be.

    Attributes:
        instances, bytes: of all of it, as far as it is known.
        to_fetch: instances of these that a PACS has to send.
        fetch_hours: of transfer; None where it cannot be told. `fetched_at` is when the last would come.
        release_hours: of de-identification and upload, by past releases; None where there was none.
        ready_at: when the release would stand, without waiting for people.
        rests_on: sentences.
    """

    instances: int
    bytes: int
    to_fetch: int
    fetch_hours: float | None
    fetched_at: datetime | None
    release_hours: float | None
    ready_at: datetime | None
    rests_on: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; times as ISO 8601."""
        plain = asdict(self)
        for name in ("fetched_at", "ready_at"):
            plain[name] = plain[name].isoformat() if plain[name] else None
        return plain


def estimate(database: Database, wanted: Wanted) -> Estimate:
    """Count what is asked for. Nothing is written, no PACS is asked.

    Raises:
        CohortError: a filter takes too long to count; the message says by what to narrow it.
    """
    now = datetime.now(UTC)
    if wanted.expression is not None:
        seen = preview(database, wanted.expression)
        lacking = sum(one.certain_instances + one.possible_instances for one in seen.to_fetch)
        size = seen.here.bytes + sum(one.bytes for one in seen.to_fetch)
        with database.transaction() as connection:
            return _of(connection, seen.here.instances + lacking, size, lacking, seen.to_fetch, (), now)
    with database.transaction() as connection:
        if wanted.version_id is not None:
            (row,) = select(
                connection, "select instances, bytes from cohort_version where version_id = %s", (wanted.version_id,)
            )
            return _of(connection, row["instances"], row["bytes"], 0, (), (), now)
        assert wanted.kept is not None
        (row,) = select(connection, named_query("request_list_size"), {"list_id": wanted.kept.list_id})
        guessed = round(row["unknown_rows"] * (row["instances_a_study"] or 0))
        lacking = row["lacking"] + guessed
        rests_on = []
        if row["unknown_rows"]:
            rests_on.append(
                f"Of {row['unknown_rows']} rows nothing is known before the PACS was asked; each is taken for "
                f"{row['instances_a_study'] or 0:.0f} instances, the average of the studies that are here."
            )
        average = row["bytes_an_instance"]
        fetch: tuple[ToFetch, ...] = ()
        if lacking and row["pacs"]:
            counted = {"certain_studies": 0, "certain_instances": lacking, "possible_studies": 0}
            counted |= {"possible_instances": 0, "unnumbered_studies": 0, "pacs": row["pacs"]}
            fetch = (of_pacs(connection, counted, average, "all that are here"),)
        instances = row["here"] + lacking
        return _of(connection, instances, int(instances * (average or 0)), lacking, fetch, tuple(rests_on), now)


def _of(
    connection: Connection,
    instances: int,
    size: int,
    lacking: int,
    fetch: tuple[ToFetch, ...],
    rests_on: tuple[str, ...],
    now: datetime,
) -> Estimate:
    said = [*rests_on, *(words for one in fetch for words in one.rests_on)]
    fetch_hours: float | None = 0.0
    fetched_at: datetime | None = now
    if lacking:
        hours = [one.hours for one in fetch]
        known = bool(fetch) and None not in hours
        fetch_hours = sum(one for one in hours if one is not None) if known else None
        fetched_at = max((one.ready_at for one in fetch if one.ready_at), default=None) if known else None
        if not fetch:
            said.append("Nothing was fetched from any PACS yet, so its pace is not known.")
    (past,) = select(connection, named_query("release_pace"))
    release_hours = None
    if past["bytes"] and past["seconds"]:
        release_hours = size / (past["bytes"] / past["seconds"]) / 3600
        said.append(
            f"The last {past['releases']} releases were de-identified and uploaded at "
            f"{past['bytes'] / past['seconds'] / 1e6:.2f} MB/s."
        )
    else:
        said.append("Nothing was released yet, so the time for de-identification and upload is not known.")
    ready = None
    if fetched_at is not None and release_hours is not None and release_hours < 24 * 365 * 5:
        ready = fetched_at + timedelta(hours=release_hours)
    return Estimate(instances, size, lacking, fetch_hours, fetched_at, release_hours, ready, tuple(said))
