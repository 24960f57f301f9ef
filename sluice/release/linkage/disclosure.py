"""The way back from a pseudonym to a patient, and there: by people, for a reason, audited before it is answered.

Needs three things at once: the project's key, a database user who may become the role `sluice_linkage`, and a reason.
The audit row is committed first; where it cannot be written there is no answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2.errors
from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import Database, named_query, select
from sluice.deid.identities import Identities, is_patient
from sluice.release.linkage.entries import LinkageError, Original, Sealer, entries_of
from sluice.release.linkage.keys import Keyring
from sluice.release.linkage.merges import Merges
from sluice.release.linkage.people import Patient

ROLE = "sluice_linkage"
SHORTEST_WHY = 10  # characters, as the table wants it
MOST_ASKED = 10_000  # at once: whoever needs more than that needs another study design


class DisclosureError(LinkageError):
    """A question is not answered; the message says what to do."""


@dataclass(frozen=True)
class Answer:
    """One question with its answer; not for logs.

    Attributes:
        asked: the pseudonym, or the Patient ID.
        original: what the pseudonym stands for; None where the project gave no such one.
        pseudonyms: what the patient is called in the project, oldest key first.
        now: the patient whom the one of `original` was merged into since.
    """

    asked: str
    original: Original | None = None
    pseudonyms: tuple[str, ...] = ()
    now: Patient | None = None


def reidentify(database: Database, ring: Keyring, pseudonyms: Sequence[str], why: str, who: str) -> list[Answer]:
    """Who stands behind pseudonyms of patients, accession numbers and UIDs, under any of the project's keys.

    Args:
        why: the reason, in words that a data protection officer understands.
        who: asks, as the program knows them.

    Raises:
        DisclosureError: no reason, no key, no right, or too many at once.
    """
    asked = _asked(ring, pseudonyms, why)
    found: dict[str, Original] = {}
    with _as_linkage(database) as connection:
        for key in ring.keys:
            found |= entries_of(connection, Sealer(ring.project, Identities(key.secret, "")), asked)
        merges = Merges.now(connection)
        _audit(connection, ring.project, "reidentify", why, who, len(asked), len(found), asked)
    return [_answer(pseudonym, found.get(pseudonym), merges) for pseudonym in asked]


def pseudonyms_of(database: Database, ring: Keyring, patients: Sequence[Patient], why: str, who: str) -> list[Answer]:
    """What patients are called in a project, as far as it has any data of theirs.

    Raises:
        DisclosureError: no reason, no key, no right, or too many at once.
    """
    asked = [patient for patient in dict.fromkeys(patients) if is_patient(patient.patient_id)]
    _asked(ring, [patient.patient_id for patient in asked], why)
    with _as_linkage(database) as connection:
        merges = Merges.now(connection)
        named: dict[Patient, tuple[str, ...]] = {
            patient: _names(connection, ring, [patient, Patient(*merges.survivor(patient))]) for patient in asked
        }
        told = [name for names in named.values() for name in names]
        found = sum(1 for names in named.values() if names)
        _audit(connection, ring.project, "pseudonym", why, who, len(asked), found, told)
    return [Answer(patient.patient_id, pseudonyms=names) for patient, names in named.items()]


def disclosures(database: Database, project: str | None = None) -> list[dict[str, Any]]:
    """Every question that was asked, oldest first, and whether each row still follows from the one before.

    Raises:
        DisclosureError: no right to look.
    """
    with _as_linkage(database) as connection:
        return select(connection, named_query("disclosures"), {"project": project})


def what_separation_lacks(connection: Connection) -> str | None:
    """What is missing until only the linkage role can read the linkage table; None where nothing is.

    The user of the connection is taken to be the pipeline's.
    """
    (seen,) = select(connection, named_query("linkage_separation"))
    if seen["is_super"]:
        return (
            f"The database user {seen['name']} is a superuser, who may read everything. Let the pipeline connect as a "
            "user who is none."
        )
    if not seen["has_role"] or seen["owner"] != ROLE:
        return (
            f"The schema linkage does not belong to {ROLE}. As an administrator of the database run: "
            f"select linkage.give_to_role('{seen['name']}'); grant {ROLE} to PERSON;"
        )
    if seen["is_member"]:
        return f"The pipeline's user {seen['name']} is a member of {ROLE}. Run: revoke {ROLE} from {seen['name']};"
    return None


def _asked(ring: Keyring, asked: Sequence[str], why: str) -> list[str]:
    if len(why.strip()) < SHORTEST_WHY:
        raise DisclosureError("Say why, in a sentence: it is kept with your name, for the data protection officer.")
    if not ring.keys:
        raise DisclosureError(f"Without a key of project {ring.project!r} nothing can be told; {ring.where} has none.")
    if not asked:
        raise DisclosureError("Nothing was asked for.")
    if len(asked) > MOST_ASKED:
        raise DisclosureError(f"{len(asked):,} at once are too many; ask for {MOST_ASKED:,} at most.")
    return list(dict.fromkeys(one.strip() for one in asked))


def _answer(pseudonym: str, original: Original | None, merges: Merges) -> Answer:
    if original is None or original.kind != "patient":
        return Answer(pseudonym, original)
    patient = Patient(original.value, original.issuer)
    survivor = Patient(*merges.survivor(patient))
    return Answer(pseudonym, original, now=survivor if survivor != patient else None)


def _names(connection: Connection, ring: Keyring, identities_of_one: Sequence[Patient]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for key in ring.keys:
        identities = Identities(key.secret, "")
        rows = select(
            connection,
            "select pseudonym from subject where project = %s and key_id = %s and patient_index = any(%s) "
            "order by subject_id",
            (ring.project, key.key_id, [identities.patient_index(*one) for one in identities_of_one]),
        )
        names |= dict.fromkeys(row["pseudonym"] for row in rows)
    return tuple(names)


def _audit(
    connection: Connection,
    project: str,
    direction: str,
    why: str,
    who: str,
    asked: int,
    found: int,
    pseudonyms: Sequence[str],
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into linkage.disclosure (asked_by, project, direction, why, asked, found, pseudonyms) "
            "values (%s, %s, %s, %s, %s, %s, %s::text[])",
            (who, project, direction, why.strip(), asked, found, list(pseudonyms)),
        )


@contextmanager
def _as_linkage(database: Database) -> Iterator[Connection]:
    """A transaction as the linkage role, committed at the end."""
    with database.transaction() as connection:
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"set local role {ROLE}")
        except psycopg2.errors.InvalidParameterValue:
            raise DisclosureError(
                f"The role {ROLE} is missing, so the linkage table is not separate. As an administrator of the "
                "database run: select linkage.give_to_role('USER'), with the user that the pipeline connects as."
            ) from None
        except psycopg2.errors.InsufficientPrivilege:
            raise DisclosureError(
                f"This database user may not act as {ROLE}. Connect as one who may (SLUICE_DATABASE_URL), or have an "
                f"administrator run: grant {ROLE} to USER."
            ) from None
        try:
            yield connection
        except psycopg2.errors.InsufficientPrivilege:
            raise DisclosureError(
                f"The schema linkage does not belong to {ROLE}. As an administrator of the database run: "
                "select linkage.give_to_role('USER'), with the user that the pipeline connects as."
            ) from None
