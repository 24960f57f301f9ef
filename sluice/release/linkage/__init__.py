"""Who is who in a project: keys, what each patient was given, and the way back. The doors of this room.

identities, merged, people = plan_identities(connection, project, prefix, source, members)  # before a release begins
record(connection, project, identities, release_id, people)   # with its members, in one transaction
identities_for(connection, identities, release_id)            # in every worker
reidentify(database, keyring, …), pseudonyms_of(database, keyring, …)   # by people, audited
"""

from __future__ import annotations

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import select
from sluice.deid.identities import Identities
from sluice.release.linkage.entries import LinkageError, record_entries
from sluice.release.linkage.people import Patient, People, give, merged_pseudonyms, people_of, subjects_of

__all__ = [
    "LinkageError",
    "Patient",
    "People",
    "identities_for",
    "merged_pseudonyms",
    "people_of",
    "record",
]


def record(connection: Connection, project: str, identities: Identities, release_id: int, people: People) -> None:
    """Give each patient of a release a subject and write its linkage, once, before anything of it leaves.

    Raises:
        LinkageError: a pseudonym stands for something else already, or the schema cannot be written.
    """
    (release,) = select(connection, "select identified_at from release where release_id = %s for update", (release_id,))
    if release["identified_at"] is not None:
        return
    collided = give(connection, identities, project, release_id, people)
    known = identities.knowing(subjects_of(connection, release_id))
    record_entries(connection, known, project, people.without(collided))
    with connection.cursor() as cursor:
        cursor.execute("update release set identified_at = now() where release_id = %s", (release_id,))


def identities_for(connection: Connection, identities: Identities, release_id: int) -> Identities | None:
    """Identities of a release's own patients, as they were frozen; None where `record` was not called for it."""
    (release,) = select(connection, "select identified_at from release where release_id = %s", (release_id,))
    if release["identified_at"] is None:
        return None
    return identities.knowing(subjects_of(connection, release_id))
