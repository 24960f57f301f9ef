"""What is done with one object that is offered, whichever way it comes: check, keep, receipt, then success."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sluice.pacs.answers import is_uid
from sluice.pacs.archive import OUT_OF_SPACE, Archive, Kept, file_meta
from sluice.pacs.identity import NoIdentity, Peeked, peek
from sluice.pacs.receipts import Entry

log = logging.getLogger(__name__)

# C-STORE statuses, PS3.4 table B.2-1
SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
PROCESSING_FAILURE = 0x0110


@dataclass(frozen=True)
class Offered:
    """An object and how it came.

    Attributes:
        sop_class, sop_instance: as the request says, unchecked.
        abstract_syntax, transfer_syntax: of the presentation context, or of the file.
        dataset: encoded as it came.
        source: `move`, `get`, `push` or `import`.
        calling_ae, called_ae, peer, association: of the association that brought it.
    """

    sop_class: str
    sop_instance: str
    abstract_syntax: str
    transfer_syntax: str
    dataset: bytes
    source: str
    calling_ae: str
    called_ae: str
    peer: str
    association: str


class Intake:
    """Takes offered objects into archive and ledger.

    Args:
        archive: where the bytes go.
        write: `ReceiptWriter.write`.
        min_free_bytes: with less free disk everything is refused before a byte is written.
    """

    def __init__(self, archive: Archive, write: Callable[[Entry], str], min_free_bytes: int) -> None:
        self.archive = archive
        self.write = write
        self.min_free_bytes = min_free_bytes

    def take(self, offered: Offered) -> tuple[int, str]:
        """A C-STORE status and what happened in a word or two. Never raises: the sender always gets an answer."""
        try:
            return self._take(offered)
        except OSError as error:
            full = error.errno in OUT_OF_SPACE
            status = OUT_OF_RESOURCES if full else PROCESSING_FAILURE
            log.error("An instance could not be written (%s); the sender was told %04X.", error.strerror, status)
            return status, "no space" if full else "not written"
        except Exception as error:  # one object must not end the association that others come by
            log.error("An instance could not be processed (%s); the sender was told 0110.", type(error).__name__)
            return PROCESSING_FAILURE, "not processed"

    def _take(self, offered: Offered) -> tuple[int, str]:
        if self.archive.free_bytes() < self.min_free_bytes:
            return OUT_OF_RESOURCES, "no space"
        try:
            peeked = _checked(offered)
        except NoIdentity as error:
            self._quarantine(offered, str(error))
            return (DOES_NOT_MATCH if isinstance(error, _Mismatch) else CANNOT_UNDERSTAND), "quarantined"
        kept = self.archive.keep(peeked.identity, offered.transfer_syntax, offered.dataset)
        receipt = _receipt(offered, peeked, kept)
        if kept.outcome == "other":
            return SUCCESS, self._contradicted(peeked, receipt, kept)
        if self.write(receipt) == "conflict":
            aside = self.archive.set_aside(peeked.identity.sop_instance, kept)
            return SUCCESS, self._contradicted(peeked, receipt, aside)
        return SUCCESS, "received" if kept.outcome == "new" else "again"

    def _contradicted(self, peeked: Peeked, receipt: Entry, aside: Kept) -> str:
        """Other content for a known instance: the first stays, unless nobody ever had a receipt for it."""
        if self.write(Entry("receipt_conflict", {**receipt.values, "path": aside.path})) != "orphan":
            return "set aside"
        kept = self.archive.replace(peeked.identity, aside)
        self.write(Entry("receipt", {**receipt.values, "path": kept.path}))
        return "received"

    def _quarantine(self, offered: Offered, detail: str) -> None:
        claimed = offered.sop_instance if is_uid(offered.sop_instance) else None
        meta = b""
        if claimed and is_uid(offered.abstract_syntax):
            meta = file_meta(offered.abstract_syntax, claimed, offered.transfer_syntax)
        kept = self.archive.quarantine(offered.dataset, meta)
        values = {
            "path": kept.path,
            "sha256": kept.sha256,
            "bytes": kept.bytes,
            "sop_instance_uid": claimed,
            "reason_code": "unusable-uids",
            "detail": detail,
            "quarantined_at": datetime.now(UTC),
        }
        self.write(Entry("quarantine", values))


class _Mismatch(NoIdentity):
    """The dataset contradicts the request or the presentation context."""


def _checked(offered: Offered) -> Peeked:
    """The object's identity, once request, presentation context and dataset agree on it (PS3.4 B.2.3)."""
    if not is_uid(offered.sop_instance):
        raise NoIdentity("The Affected SOP Instance UID of the request is no valid UID.")
    peeked = peek(offered.dataset, offered.transfer_syntax)
    if peeked.identity.sop_instance != offered.sop_instance:
        raise _Mismatch("SOPInstanceUID of dataset and request differ.")
    if peeked.identity.sop_class != offered.sop_class:
        raise _Mismatch("SOPClassUID of dataset and request differ.")
    if peeked.identity.sop_class != offered.abstract_syntax:
        raise _Mismatch("SOPClassUID is not that of the presentation context.")
    return peeked


def _receipt(offered: Offered, peeked: Peeked, kept: Kept) -> Entry:
    return Entry(
        "receipt",
        {
            "sop_instance_uid": peeked.identity.sop_instance,
            "series_instance_uid": peeked.identity.series,
            "study_instance_uid": peeked.identity.study,
            "sop_class_uid": peeked.identity.sop_class,
            "transfer_syntax_uid": offered.transfer_syntax,
            "study_date": peeked.study_date,
            "source": offered.source,
            "calling_ae": offered.calling_ae,
            "called_ae": offered.called_ae,
            "peer": offered.peer,
            "association": offered.association,
            "bytes": kept.bytes,
            "sha256": kept.sha256,
            "path": kept.path,
            "received_at": datetime.now(UTC),
        },
    )
