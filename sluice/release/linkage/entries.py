"""The linkage table: who stands behind a pseudonym, encrypted, in a schema that the pipeline may only add to.

A row is found by an HMAC of the pseudonym and opened with AES-256-GCM (NIST SP 800-38D), both under sub-keys of the
project's key: the table alone, or the key alone, tells nothing. Ciphertexts are padded, so lengths tell nothing either.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import psycopg2.errors
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import copy_line, copy_lines, select
from sluice.deid.identities import INDEX_BYTES, Identities
from sluice.release.linkage.people import People

NONCE_BYTES = 12
PADDED_TO = 64  # bytes
PIECE = 20_000  # rows in memory at once
UIDS = {"study": "study_instance_uid", "series": "series_instance_uid", "instance": "sop_instance_uid"}
COLUMNS = ("project", "key_id", "pseudonym_index", "original_index", "kind", "sealed")


class LinkageError(RuntimeError):
    """Linkage cannot be written or read; the message says what to do."""


@dataclass(frozen=True)
class Original:
    """What a pseudonym stands for; not for logs.

    Attributes:
        kind: `patient`, `accession`, `study`, `series` or `instance`.
        value: the Patient ID, accession number or UID.
        issuer: of a Patient ID.
    """

    kind: str
    value: str = field(repr=False)
    issuer: str = field(default="", repr=False)


class Sealer:
    """Seals and opens entries of one project under one of its keys."""

    def __init__(self, project: str, identities: Identities) -> None:
        self.project = project
        self.key_id = identities.key_id
        self._cipher = AESGCM(identities.sub_key("linkage"))
        self._pseudonyms = identities.sub_key("linkage pseudonym")
        self._originals = identities.sub_key("linkage original")

    def index(self, pseudonym: str) -> bytes:
        """What the entry of a pseudonym is found by."""
        return hmac.digest(self._pseudonyms, pseudonym.encode(), "sha256")[:INDEX_BYTES]

    def row(self, pseudonym: str, original: Original) -> tuple[Any, ...]:
        """The entry as the table holds it; see `COLUMNS`."""
        index = self.index(pseudonym)
        text = json.dumps([original.value, original.issuer], ensure_ascii=False).encode()
        named = hmac.digest(self._originals, original.kind.encode() + b"\0" + text, "sha256")[:INDEX_BYTES]
        nonce = os.urandom(NONCE_BYTES)
        padded = text + b" " * (-len(text) % PADDED_TO)
        sealed = nonce + self._cipher.encrypt(nonce, padded, self._bound(index, original.kind))
        return self.project, self.key_id, index, named, original.kind, sealed

    def opened(self, row: dict[str, Any]) -> Original:
        """What an entry stands for.

        Raises:
            LinkageError: the entry was changed, or is another's.
        """
        sealed, index = bytes(row["sealed"]), bytes(row["pseudonym_index"])
        try:
            text = self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], self._bound(index, row["kind"]))
        except InvalidTag:
            raise LinkageError(
                f"An entry of project {self.project!r} in the linkage table does not open: it was changed there. "
                "Restore the schema linkage from its backup, and find out who writes to it."
            ) from None
        value, issuer = json.loads(text)
        return Original(row["kind"], value, issuer)

    def _bound(self, index: bytes, kind: str) -> bytes:
        """Where the ciphertext belongs: moved to another row it does not open."""
        return b"\0".join((self.project.encode(), self.key_id.encode(), kind.encode(), index))


def record_entries(connection: Connection, identities: Identities, project: str, people: People) -> None:
    """Write who stands behind the pseudonyms of these members; what is written already stays.

    Raises:
        LinkageError: a pseudonym stands for something else already.
    """
    sealer = Sealer(project, identities)
    with connection.cursor() as cursor:
        cursor.execute(
            "create temporary table linkage_staged (project text, key_id text, pseudonym_index bytea, "
            "original_index bytea, kind text, sealed bytea) on commit drop"
        )
        lines: list[str] = []
        for pseudonym, original in _pairs(identities, people):
            lines.append(copy_line(sealer.row(pseudonym, original)))
            if len(lines) >= PIECE:
                copy_lines(connection, "linkage_staged", COLUMNS, lines)
                lines = []
        copy_lines(connection, "linkage_staged", COLUMNS, lines)
        names = ", ".join(COLUMNS)
        # The trigger looks each pseudonym up by a plan that is made with the first row: of a small table it would read
        # all of it, and go on so while the table grows.
        cursor.execute("set local enable_seqscan = off")
        try:
            cursor.execute(
                f"insert into linkage.entry ({names}) select {names} from linkage_staged "
                "order by pseudonym_index on conflict do nothing"
            )
        except psycopg2.errors.UniqueViolation as error:
            raise LinkageError(
                f"Two of project {project!r} would have one pseudonym under the key {identities.key_id}. Nothing was "
                f"written. Run: python -m sluice key rotate {project}, and prepare the release again."
            ) from error
        except psycopg2.errors.InsufficientPrivilege as error:
            raise LinkageError(
                "This database user may not write to linkage.entry. As an administrator run: "
                "select linkage.give_to_role('USER'), with the user that the pipeline connects as."
            ) from error
        cursor.execute("set local enable_seqscan to default; drop table linkage_staged")


def entries_of(connection: Connection, sealer: Sealer, pseudonyms: Iterable[str]) -> dict[str, Original]:
    """What pseudonyms stand for, as far as this key gave them; for whoever may select."""
    by_index = {sealer.index(pseudonym): pseudonym for pseudonym in pseudonyms}
    rows = select(
        connection,
        "select pseudonym_index, kind, sealed from linkage.entry "
        "where project = %s and key_id = %s and pseudonym_index = any(%s)",
        (sealer.project, sealer.key_id, list(by_index)),
    )
    return {by_index[bytes(row["pseudonym_index"])]: sealer.opened(row) for row in rows}


def _pairs(identities: Identities, people: People) -> Iterable[tuple[str, Original]]:
    """Pseudonyms and originals, each once."""
    shown = [member for member in people.members if member["patient"] is not None]
    for pseudonym, patient in sorted(
        {identities.patient(*one): people.survivor(one) for one in people.patients}.items()
    ):
        yield pseudonym, Original("patient", *patient)
    for number in sorted({member["accession_number"].strip() for member in shown} - {""}):
        yield identities.accession(number), Original("accession", number)
    for kind, column in UIDS.items():
        for uid in dict.fromkeys(member[column] for member in shown if member.get(column)):
            yield identities.uid(uid), Original(kind, uid)
