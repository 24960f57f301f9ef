"""Reporting storage commitment: N-EVENT-REPORT to whoever asked, again and again with growing delays until it is told.

What has to be told stands in the ledger, so neither a restart of ours nor a requester that is away loses a report. A
report may come twice, when the ledger goes away between the delivery and the note of it; never too seldom.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg2
import psycopg2.extras
from psycopg2.extensions import connection as Connection  # noqa: N812
from pydicom.uid import UID
from pynetdicom import build_role
from pynetdicom.presentation import PresentationContext

from sluice.database import Database, DatabaseError, named_query, select
from sluice.pacs.association import PacsAssociation, associate
from sluice.pacs.errors import PacsError
from sluice.pacs.node import PacsNode
from sluice.pacs.receiver.commitment import PUSH_MODEL, WELL_KNOWN_INSTANCE, Commitment, Peer, Result, result_of
from sluice.settings import Settings

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
MOST_AT_ONCE = 50
STOP_S = 10.0


@dataclass(frozen=True)
class Patience:
    """Delays of the reports, seconds.

    Attributes:
        first_s, most_s: before the second try; it doubles with each further one, up to the other.
        give_up_s: a requester that could not be told for so long is given up.
        settle_s: an instance that is not here is waited for so long before it is reported as missing: its receipt
            may be in the spool, or the instance on another association.
        answer_s: how long a requester may take to answer.
    """

    first_s: float = 10.0
    most_s: float = 3600.0
    give_up_s: float = 72 * 3600.0
    settle_s: float = 30.0
    answer_s: float = 30.0


@dataclass(frozen=True)
class OwnTls:
    """PEM files that we show and trust when a requester is told by TLS; those of the receiver."""

    certificate: str = ""
    key: str = ""
    ca: str = ""


class Reports:
    """Tells requesters, in a thread of its own; a context manager, or `start` and `stop`.

    Several processes may run one each: a request is locked while it is told.

    Args:
        commitment: knows the requesters' addresses.
        archive: root folder of received files.
    """

    def __init__(
        self,
        commitment: Commitment,
        archive: Path,
        patience: Patience | None = None,
        tls: OwnTls | None = None,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self.commitment = commitment
        self.archive = archive
        self.patience = patience or Patience()
        self.tls = tls or OwnTls()
        self.counts: Counter[str] = Counter()
        self._look_every_s = look_every_s
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @classmethod
    def of(cls, settings: Settings, commitment: Commitment) -> Self:
        """With the archive and the TLS files of an installation."""
        files = (settings.receiver_tls_certificate, settings.receiver_tls_key, settings.receiver_tls_ca)
        return cls(commitment, settings.archive, tls=OwnTls(*(str(path or "") for path in files)))

    def start(self) -> None:
        """Begin to tell; does nothing where nobody may ask."""
        if self.commitment.peers:
            self._ended.clear()
            self._thread = threading.Thread(target=self._run, name="commitment-reports", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End after the request that is being told; one that takes too long is told again after the next start."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(STOP_S)
            self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        away = False
        while not self._ended.wait(self._look_every_s):
            try:
                while not self._ended.is_set() and self.tell_due():
                    pass
                away = False
            except (DatabaseError, psycopg2.Error):
                if not away:
                    log.warning("Storage commitment waits: the ledger is away.")
                away = True
            except Exception as error:  # the thread must live on: what one request does to it, others suffer from
                log.error("Storage commitment could not be reported (%s); it is tried again.", type(error).__name__)

    def tell_due(self) -> int:
        """Tell the requesters that are due, each on one association; how many requests were tried.

        Raises:
            DatabaseError: the ledger is away.
        """
        database: Database = self.commitment.database
        with database.transaction() as connection:
            due = self._due(connection)
            ready: dict[tuple[str, str], list[tuple[dict[str, Any], Result]]] = {}
            for row in due:
                result = result_of(connection, self.archive, row["request_id"], row["reused"])
                if not result.failures or row["reused"] or row["age_s"] >= self.patience.settle_s:
                    ready.setdefault((row["calling_ae"], row["called_ae"]), []).append((row, result))
            for (requester, us), requests in ready.items():
                faults = self._tell(requester, us, requests)
                for (row, result), fault in zip(requests, faults, strict=True):
                    self._note(connection, row, result, fault)
        return sum(map(len, ready.values()))

    def _due(self, connection: Connection) -> list[dict[str, Any]]:
        """Requests to tell about now, locked. Not those that another receiver told since we looked."""
        limits = {"first_delay_s": self.patience.first_s, "most_delay_s": self.patience.most_s, "most": MOST_AT_ONCE}
        due = select(connection, named_query("commitment_due"), limits)
        counted = select(
            connection,
            "select request_id, count(*) as tries from commitment_report where request_id = any (%s) group by 1",
            ([row["request_id"] for row in due],),
        )
        tries = {row["request_id"]: row["tries"] for row in counted}
        return [row for row in due if tries.get(row["request_id"], 0) == row["tries"]]

    def _tell(self, requester: str, us: str, requests: list[tuple[dict[str, Any], Result]]) -> list[str | None]:
        """Why each request could not be told; None for those that were."""
        peer = self.commitment.peers.get(requester)
        if peer is None:
            return ["SLUICE_COMMITMENT_PEERS has no address for this AE title any more."] * len(requests)
        faults: list[str | None] = []
        try:
            with associate(self._node(requester, us, peer), (UID(PUSH_MODEL),), _AsScp()) as association:
                for row, result in requests:
                    faults.append(_told(association, row["transaction_uid"], result))
        except PacsError as error:
            faults += [str(error)] * (len(requests) - len(faults))
        except ValueError as error:  # the context was not accepted, or no AE title can be made of how we were called
            faults += [f"The requester cannot be told: {error}"] * (len(requests) - len(faults))
        return faults

    def _node(self, requester: str, us: str, peer: Peer) -> PacsNode:
        return PacsNode(
            name=requester, host=peer.host, port=peer.port, ae_title=requester, calling_ae_title=us,
            move_destination=us, timeout_s=self.patience.answer_s, tls=peer.tls, tls_ca=self.tls.ca,
            tls_certificate=self.tls.certificate, tls_key=self.tls.key, tls_name="*",
        )  # fmt: skip

    def _note(self, connection: Connection, row: dict[str, Any], result: Result, fault: str | None) -> None:
        outcome = "delivered" if fault is None else "failed"
        if fault is not None and row["age_s"] >= self.patience.give_up_s:
            outcome = "given-up"
        with connection.cursor() as cursor:
            cursor.execute(
                "insert into commitment_report (request_id, outcome, detail, committed, failures, tried_at) "
                "values (%s, %s, %s, %s, %s, clock_timestamp())",
                (
                    row["request_id"], outcome, fault, len(result.references) - len(result.failures),
                    psycopg2.extras.Json(result.failures),
                ),
            )  # fmt: skip
        self.counts[f"commitment {outcome}"] += 1
        if outcome == "delivered":
            words = f"{len(result.references)} instances, {len(result.failures)} of them not vouched for"
            log.info("Storage commitment reported to %r: %s.", row["calling_ae"], words)
        else:
            last = " It is given up." if outcome == "given-up" else " It is tried again."
            log.warning("Storage commitment not reported to %r: %s%s", row["calling_ae"], fault, last)


class _AsScp:
    """The association's roles: we stay the SCP of the service, although we open the association (PS3.4 J.3.3)."""

    contexts: list[PresentationContext] = []
    roles: list[Any] = [build_role(UID(PUSH_MODEL), scp_role=True)]
    handlers: list[Any] = []


def _told(association: PacsAssociation, transaction_uid: str, result: Result) -> str | None:
    status = association.event_report(
        UID(PUSH_MODEL), UID(WELL_KNOWN_INSTANCE), result.event_type, result.information(transaction_uid)
    )
    if status == "0000" or status.startswith("B"):
        return None
    return f"The requester answered the report with status {status}."
