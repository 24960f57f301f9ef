"""Storage commitment, push model (PS3.4 Annex J): a sender asks whether it may forget what it sent us.

The request (N-ACTION) is kept in the ledger before it is answered. The result is worked out from the receipts and
the files in the archive, and reported by N-EVENT-REPORT on an association that we open
(`sluice.pacs.receiver.commitment_reports`).
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from sluice.database import Database, DatabaseError, copy_rows, named_query, select
from sluice.pacs.answers import is_uid, text
from sluice.settings import Settings

log = logging.getLogger(__name__)

PUSH_MODEL = "1.2.840.10008.1.20.1"
WELL_KNOWN_INSTANCE = "1.2.840.10008.1.20.1.1"
REQUEST_ACTION = 1  # PS3.4 J.3.2.1.1
ALL_COMMITTED, SOME_FAILED = 1, 2  # event types, PS3.4 J.3.3.1.1
MOST_REFERENCES = 10_000  # pydicom takes 0.1 ms for each, and the interpreter lock with it

# N-ACTION statuses, PS3.7 10.1.4.1.10 and Annex C
SUCCESS = 0x0000
NO_SUCH_INSTANCE = 0x0112
INVALID_ARGUMENT = 0x0115
NO_SUCH_CLASS = 0x0118
NO_SUCH_ACTION = 0x0123
NOT_AUTHORIZED = 0x0124
RESOURCE_LIMIT = 0x0213
PROCESSING_FAILURE = 0x0110

# Failure Reason (0008,1197), PS3.3 C.14.1.1
NOT_HERE = "0112"
OTHER_CLASS = "0119"
DAMAGED = "0110"
UID_REUSED = "0131"


class CommitmentError(RuntimeError):
    """Storage commitment cannot be set up; the message says what to do."""


@dataclass(frozen=True)
class Peer:
    """Where a sender listens for our reports."""

    host: str
    port: int
    tls: bool = False


@dataclass(frozen=True)
class Asked:
    """An N-ACTION request as it came, unchecked.

    Attributes:
        sop_class, sop_instance: Requested SOP Class and SOP Instance UID.
        action_type: Action Type ID.
        information: Action Information; None when there was none or it could not be decoded.
        calling_ae, called_ae, peer, association: of the association that it came by.
    """

    sop_class: str
    sop_instance: str
    action_type: int
    information: Dataset | None
    calling_ae: str
    called_ae: str
    peer: str
    association: str


class Commitment:
    """Takes requests for storage commitment; safe to use from many threads and processes.

    Args:
        database: where requests are kept.
        peers: where each sender is reported to, by its AE title; others are not answered for.
    """

    def __init__(self, database: Database, peers: Mapping[str, Peer]) -> None:
        self.database = database
        self.peers = dict(peers)
        self.counts: Counter[str] = Counter()

    @classmethod
    def of(cls, settings: Settings, database: Database) -> Commitment:
        """With the peers of `commitment_peers`.

        Raises:
            CommitmentError: an entry is malformed.
        """
        return cls(database, peers_of(settings.commitment_peers))

    def tells(self, calling_ae: str) -> bool:
        """Whether this sender may ask, because there is an address to report to."""
        return calling_ae in self.peers

    def take(self, asked: Asked) -> int:
        """Keep a request and say which status to answer the N-ACTION with. Never raises.

        0x0000 means that the request is in the ledger and that a report will follow.
        """
        try:
            status = self._take(asked)
        except (DatabaseError, psycopg2.Error):
            log.warning("Storage commitment for %r refused: the ledger is away.", asked.calling_ae)
            status = RESOURCE_LIMIT
        except Exception as error:  # whatever a hostile request does to us, the sender gets an answer
            log.error("A request for storage commitment could not be processed (%s).", type(error).__name__)
            status = PROCESSING_FAILURE
        self.counts["commitment asked" if status == SUCCESS else "commitment refused"] += 1
        return status

    def _take(self, asked: Asked) -> int:
        if asked.sop_class != PUSH_MODEL:
            return NO_SUCH_CLASS
        if asked.sop_instance != WELL_KNOWN_INSTANCE:
            return NO_SUCH_INSTANCE
        if asked.action_type != REQUEST_ACTION:
            return NO_SUCH_ACTION
        if not self.tells(asked.calling_ae):
            log.warning(
                "%r asked for storage commitment, but SLUICE_COMMITMENT_PEERS does not say where to report to.",
                asked.calling_ae,
            )
            return NOT_AUTHORIZED
        transaction = text(asked.information, "TransactionUID") if asked.information is not None else ""
        references = _references(asked.information)
        if not is_uid(transaction) or not references:
            return INVALID_ARGUMENT
        if len(references) > MOST_REFERENCES:
            return RESOURCE_LIMIT
        with self.database.transaction() as connection:
            _keep(connection, asked, transaction, references)
        return SUCCESS


def _references(information: Dataset | None) -> list[tuple[str, str]]:
    """SOP class and instance of each item of the Referenced SOP Sequence; empty when one of them is no UID."""
    sequence: Any = information.get("ReferencedSOPSequence") if information is not None else None
    if not isinstance(sequence, DicomSequence):
        return []
    found = [(text(item, "ReferencedSOPClassUID"), text(item, "ReferencedSOPInstanceUID")) for item in sequence]
    return found if all(is_uid(uid) for reference in found for uid in reference) else []


def _keep(connection: Connection, asked: Asked, transaction: str, references: list[tuple[str, str]]) -> None:
    digest = hashlib.sha256("\n".join(sorted(" ".join(reference) for reference in references)).encode()).hexdigest()
    values = {"ae": asked.calling_ae, "transaction": transaction, "digest": digest}
    with connection.cursor() as cursor:
        # the same request twice, because our answer got lost: one report will do
        cursor.execute("select pg_advisory_xact_lock(hashtext(%(ae)s || %(transaction)s))", values)
        cursor.execute(
            "select from commitment_request join commitment_status using (request_id) where status = 'open' and "
            "commitment_request.calling_ae = %(ae)s and commitment_request.transaction_uid = %(transaction)s "
            "and digest = %(digest)s",
            values,
        )
        if cursor.rowcount:
            return
        cursor.execute(
            "insert into commitment_request (transaction_uid, calling_ae, called_ae, peer, association, instances, "
            "digest) values (%s, %s, %s, %s, %s, %s, %s) returning request_id",
            (transaction, asked.calling_ae, asked.called_ae, asked.peer, asked.association, len(references), digest),
        )
        (request_id,) = cursor.fetchone() or (None,)
    columns = ("request_id", "position", "sop_class_uid", "sop_instance_uid")
    rows = ((request_id, position, *reference) for position, reference in enumerate(references))
    copy_rows(connection, "commitment_reference", columns, rows, expect_new=True)


@dataclass(frozen=True)
class Result:
    """What we can vouch for of one request.

    Attributes:
        references: SOP class and instance as the request names them, in order.
        failures: Failure Reason by position; empty when we vouch for all.
    """

    references: list[tuple[str, str]]
    failures: dict[int, str]

    @property
    def event_type(self) -> int:
        """Event Type ID of the report."""
        return SOME_FAILED if self.failures else ALL_COMMITTED

    def information(self, transaction_uid: str) -> Dataset:
        """Event Information of the report (PS3.4 table J.3-2)."""
        made = Dataset()
        made.TransactionUID = transaction_uid
        good = [_item(*pair) for position, pair in enumerate(self.references) if position not in self.failures]
        if good:
            made.ReferencedSOPSequence = DicomSequence(good)
        if self.failures:
            bad = [_item(*self.references[position], reason) for position, reason in sorted(self.failures.items())]
            made.FailedSOPSequence = DicomSequence(bad)
        return made


def _item(sop_class: str, sop_instance: str, reason: str | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
    if reason is not None:
        item.FailureReason = int(reason, 16)
    return item


def result_of(connection: Connection, archive: Path, request_id: int, reused: bool = False) -> Result:
    """What we can vouch for: a receipt for that SOP class, and the file in the archive with the receipt's size.

    Args:
        archive: root folder of received files.
        reused: the sender used the Transaction UID for other instances before, so nothing is vouched for.
    """
    rows = select(connection, named_query("commitment_references"), {"request_id": request_id})
    references = [(row["sop_class_uid"], row["sop_instance_uid"]) for row in rows]
    judged = ((row["position"], UID_REUSED if reused else _failure(archive, row)) for row in rows)
    return Result(references, {position: reason for position, reason in judged if reason is not None})


def _failure(archive: Path, row: Mapping[str, Any]) -> str | None:
    if row["path"] is None:
        return NOT_HERE
    if row["kept_class"] != row["sop_class_uid"]:
        return OTHER_CLASS
    try:
        size = (archive / row["path"]).stat().st_size
    except FileNotFoundError:
        return NOT_HERE
    except OSError:
        return DAMAGED
    return None if size == row["bytes"] else DAMAGED


def peers_of(entries: Iterable[str]) -> dict[str, Peer]:
    """Entries `AE@host:port`, with `+tls` at the end where the report goes by TLS.

    Raises:
        CommitmentError: an entry is malformed.
    """
    peers = {}
    for entry in entries:
        title, _, place = (part.strip() for part in entry.rpartition("@"))
        secure = place.endswith("+tls")
        host, _, port = place.removesuffix("+tls").rpartition(":")
        if not title or len(title) > 16 or not host or not port.isdecimal() or not 0 < int(port) < 65_536:
            raise CommitmentError(
                f"{entry!r} in SLUICE_COMMITMENT_PEERS is no AE@host:port. Write for example MR1@10.1.2.3:104, "
                "or MR1@10.1.2.3:2762+tls where it listens by TLS."
            )
        peers[title] = Peer(host.strip("[]"), int(port), secure)
    return peers
