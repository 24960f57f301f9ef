"""Patients with two Patient IDs (HL7 A40): both have one pseudonym in later versions; what was published stays.

    merge(database, [Merge(prior=("4711", ""), surviving=("0815", ""))], by="rita")

A merge is a fact with a time, never changed; the newest one of a prior identity counts. Taking one back is a row, too.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extras import execute_values

from sluice.database import Database, select
from sluice.deid.identities import canonical_patient, is_patient

MERGE_LOCK = 7_350_024  # shared by plans, so that a merge is seen by a plan as a whole or not at all
Identity = tuple[str, str]  # Patient ID and its issuer
COLUMNS = ("prior_id", "prior_issuer", "surviving_id", "surviving_issuer")


class MergeError(RuntimeError):
    """A merge cannot be kept; the message says what to do, and names nobody."""


@dataclass(frozen=True)
class Merge:
    """One identity that is another's.

    Attributes:
        prior: the identity that is no longer used.
        surviving: whose it is; None takes an earlier merge back.
    """

    prior: Identity
    surviving: Identity | None


class Merges:
    """Merges that hold, followed to their end."""

    def __init__(self, pairs: dict[Identity, Identity]) -> None:
        self._pairs = pairs

    @classmethod
    def now(cls, connection: Connection) -> Merges:
        """As they are now; they stay so until the transaction ends."""
        with connection.cursor() as cursor:
            cursor.execute("select pg_advisory_xact_lock_shared(%s)", (MERGE_LOCK,))
        return cls(_pairs(connection))

    def survivor(self, identity: Identity) -> Identity:
        """Whose an identity is in the end; itself where it was not merged."""
        here = tuple(identity)
        while here in self._pairs:
            here = self._pairs[here]
        return here[0], here[1]

    def others(self, patient_id: str, issuer: str | None) -> set[Identity]:
        """All further identities of whoever has this one; of every issuer where none is said."""
        known = {*self._pairs, *self._pairs.values()}
        survivors = {self.survivor(one) for one in known if one[0] == patient_id and issuer in (None, one[1])}
        return {one for one in known if self.survivor(one) in survivors} - {(patient_id, issuer or "")}

    def closes_a_circle(self) -> bool:
        """Whether somebody would be merged into themselves."""
        for start in self._pairs:
            seen, here = {start}, self._pairs[start]
            while here in self._pairs:
                if here in seen:
                    return True
                seen.add(here)
                here = self._pairs[here]
        return False


def merge(database: Database, merges: Sequence[Merge], by: str) -> int:
    """Keep merges; return how many were new.

    Raises:
        MergeError: one names nobody, or somebody would be merged into themselves.
    """
    rows = []
    for number, one in enumerate(merges, start=1):
        prior = _canonical(one.prior, number)
        surviving = None if one.surviving is None else _canonical(one.surviving, number)
        if prior == surviving:
            raise MergeError(f"Row {number} merges a patient into themselves.")
        rows.append((prior, surviving))
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s)", (MERGE_LOCK,))
        pairs = _pairs(connection)
        new = []
        for prior, surviving in rows:
            if pairs.get(prior) == surviving:
                continue
            new.append((*prior, *(surviving or (None, "")), by))
            if surviving is None:
                del pairs[prior]
            else:
                pairs[prior] = surviving
        if Merges(pairs).closes_a_circle():
            raise MergeError("With these somebody would be merged into themselves. Nothing was kept.")
        if new:
            execute_values(
                cursor, f"insert into patient_merge ({', '.join(COLUMNS)}, said_by) values %s", new, page_size=1000
            )
        return len(new)


def read_merges(path: Path) -> list[Merge]:
    """Merges of a CSV with the columns `prior_id`, `surviving_id` and, where there are several, their issuers.

    An empty `surviving_id` takes an earlier merge back.

    Raises:
        MergeError: columns are missing.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        lacks = {"prior_id", "surviving_id"} - set(reader.fieldnames or ())
        if lacks:
            raise MergeError(
                f"{path.name} lacks the columns {', '.join(sorted(lacks))}. It may have: {', '.join(COLUMNS)}."
            )
        return list(_of_rows(reader))


def _of_rows(rows: Iterable[dict[str, str | None]]) -> Iterable[Merge]:
    for row in rows:
        prior, prior_issuer, surviving, surviving_issuer = ((row.get(name) or "").strip() for name in COLUMNS)
        yield Merge((prior, prior_issuer), (surviving, surviving_issuer) if surviving else None)


def _canonical(identity: Identity, number: int) -> Identity:
    if not is_patient(identity[0]):
        raise MergeError(f"Row {number} has a Patient ID that names nobody.")
    issuer, patient_id = canonical_patient(*identity).split("\x1f", 1)
    return patient_id, issuer


def _pairs(connection: Connection) -> dict[Identity, Identity]:
    rows = select(
        connection,
        f"select distinct on (prior_id, prior_issuer) {', '.join(COLUMNS)} from patient_merge "
        "order by prior_id, prior_issuer, merge_id desc",
    )
    return {
        (row["prior_id"], row["prior_issuer"]): (row["surviving_id"], row["surviving_issuer"])
        for row in rows
        if row["surviving_id"] is not None
    }
