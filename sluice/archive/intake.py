"""What is done with one object that is offered, whichever way it comes: check, keep, receipt, then success."""

from __future__ import annotations

import logging
import mmap
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from sluice.archive.entries import Entry
from sluice.archive.files import OUT_OF_SPACE, Archive, Incoming, Kept, file_meta
from sluice.archive.identity import HEAD_BYTES, NoIdentity, Peeked, peek, peek_early
from sluice.pacs.answers import is_uid

log = logging.getLogger(__name__)

# C-STORE statuses, PS3.4 table B.2-1
SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
PROCESSING_FAILURE = 0x0110

LOOK_AGAIN_BYTES = 64 << 20  # free space is looked at again while a large object comes


@dataclass(frozen=True)
class Offered:
    """An object and how it came.

    Attributes:
        sop_class, sop_instance: as the request says, unchecked.
        abstract_syntax, transfer_syntax: of the presentation context, or of the file.
        source: `move`, `get`, `push` or `import`.
        calling_ae, called_ae, peer, association: of the association that brought it.
        dataset: encoded as it came, for `Intake.take`; what is given to `Intake.begin` follows by `Taking.write`.
    """

    sop_class: str
    sop_instance: str
    abstract_syntax: str
    transfer_syntax: str
    source: str
    calling_ae: str
    called_ae: str
    peer: str
    association: str
    dataset: bytes | memoryview = b""


class Begun(Protocol):
    """A receipt that is inserted and not committed; see `sluice.archive.receipts.BegunReceipt`."""

    def finish(self) -> str: ...  # noqa: D102
    def abandon(self) -> None: ...  # noqa: D102


class Receipts(Protocol):
    """Where receipts go; `sluice.archive.receipts.ReceiptWriter` is one."""

    def begin(self, receipt: Entry) -> Begun: ...  # noqa: D102
    def write(self, entry: Entry) -> str: ...  # noqa: D102


class Intake:
    """Takes offered objects into archive and ledger.

    Args:
        archive: where the bytes go.
        receipts: where their receipts go.
        min_free_bytes: with less free disk everything is refused before a byte is written.
    """

    def __init__(self, archive: Archive, receipts: Receipts, min_free_bytes: int) -> None:
        self.archive = archive
        self.receipts = receipts
        self.min_free_bytes = min_free_bytes

    def take(self, offered: Offered) -> tuple[int, str]:
        """Take an object that is in memory.

        Returns:
            A C-STORE status and what happened in a word or two. Never raises: the sender always gets an answer.
        """
        taking = self.begin(offered)
        taking.write(offered.dataset)
        return taking.finish()

    def begin(self, offered: Offered) -> Taking:
        """Begin to take an object that comes in pieces, of any size; never raises.

        Give each piece to `Taking.write` in order, then call `Taking.finish` for the status, or `Taking.abandon`
        when the rest will not come.
        """
        return Taking(self, offered)

    def settle(self, offered: Offered, incoming: Incoming, early: Peeked | None = None) -> tuple[int, str]:
        """Place a file that is complete, and write its receipt: the part of `Taking.finish` that may fail.

        Args:
            early: what `peek_early` made of its first bytes.
        """
        try:
            peeked = _checked(offered, incoming, early)
        except NoIdentity as error:
            self._quarantine(offered, incoming, str(error))
            return (DOES_NOT_MATCH if isinstance(error, _Mismatch) else CANNOT_UNDERSTAND), "quarantined"
        kept = self.archive.place(peeked.identity, incoming)
        receipt = _receipt(offered, peeked, kept)
        if kept.outcome == "other":
            return SUCCESS, self._contradicted(peeked, receipt, kept)
        begun = self.receipts.begin(receipt)  # Postgres works while the disk does
        try:
            self.archive.make_durable(kept, incoming)
        except BaseException:
            begun.abandon()
            raise
        if begun.finish() == "conflict":
            aside = self.archive.set_aside(peeked.identity.sop_instance, kept)
            return SUCCESS, self._contradicted(peeked, receipt, aside)
        return SUCCESS, "received" if kept.outcome == "new" else "again"

    def _contradicted(self, peeked: Peeked, receipt: Entry, aside: Kept) -> str:
        """Other content for a known instance: the first stays, unless nobody ever had a receipt for it."""
        with self.archive.contested(peeked.identity.sop_instance):
            if self.receipts.write(Entry("receipt_conflict", {**receipt.values, "path": aside.path})) != "orphan":
                return "set aside"
            kept = self.archive.replace(peeked.identity, aside)
            self.receipts.write(Entry("receipt", {**receipt.values, "path": kept.path}))
        return "received"

    def _quarantine(self, offered: Offered, incoming: Incoming, detail: str) -> None:
        claimed = offered.sop_instance if is_uid(offered.sop_instance) else None
        kept = self.archive.quarantine(incoming)
        values = {
            "path": kept.path,
            "sha256": kept.sha256,
            "bytes": kept.bytes,
            "sop_instance_uid": claimed,
            "reason_code": "unusable-uids",
            "detail": detail,
            "quarantined_at": datetime.now(UTC),
        }
        self.receipts.write(Entry("quarantine", values))


class Taking:
    """One object on its way in; made by `Intake.begin`. No method raises: what went wrong is in the status."""

    def __init__(self, intake: Intake, offered: Offered) -> None:
        self._intake = intake
        self._offered = offered
        self._incoming: Incoming | None = None
        self._refused: tuple[int, str] | None = None
        self._look_again_at = LOOK_AGAIN_BYTES
        self._early: Peeked | None = None
        self._attempt(self._begin)

    def write(self, data: bytes | memoryview) -> None:
        """The next piece of the dataset; after a refusal the rest is let go by."""
        if self._refused is None:
            self._attempt(lambda: self._write(data))

    def finish(self) -> tuple[int, str]:
        """The object is complete: keep it durably, write its receipt.

        Returns:
            A C-STORE status (PS3.4 table B.2-1) and what happened in a word or two.
        """
        answer: tuple[int, str] | None = None

        def settle() -> None:
            nonlocal answer
            assert self._incoming is not None
            answer = self._intake.settle(self._offered, self._incoming, self._early)

        if self._refused is None:
            self._attempt(settle)
        self.abandon()
        return self._refused or answer or (PROCESSING_FAILURE, "not processed")

    def abandon(self) -> None:
        """Remove what was written of an object that will not be completed."""
        if self._incoming is not None:
            self._incoming.discard()
            self._incoming = None

    def _begin(self) -> None:
        self._check_space()
        if self._refused is None:
            self._incoming = self._intake.archive.begin(_meta(self._offered))

    def _write(self, data: bytes | memoryview) -> None:
        assert self._incoming is not None
        if self._incoming.bytes == self._incoming.dataset_at:  # now, while the sender is busy with the rest
            self._early = peek_early(bytes(data[:HEAD_BYTES]), self._offered.transfer_syntax)
        self._incoming.write(data)
        if self._incoming.bytes >= self._look_again_at:
            self._look_again_at += LOOK_AGAIN_BYTES
            self._check_space()

    def _check_space(self) -> None:
        if self._intake.archive.free_bytes() < self._intake.min_free_bytes:
            self._refused = OUT_OF_RESOURCES, "no space"
            self.abandon()

    def _attempt(self, step: Callable[[], None]) -> None:
        try:
            step()
        except OSError as error:
            full = error.errno in OUT_OF_SPACE
            status = OUT_OF_RESOURCES if full else PROCESSING_FAILURE
            log.error(
                "An instance could not be written (%s); the sender was told %04X.", error.strerror or error, status
            )
            self._refused = status, "no space" if full else "not written"
        except Exception as error:  # one object must not end the association that others come by
            log.error("An instance could not be processed (%s); the sender was told 0110.", type(error).__name__)
            self._refused = PROCESSING_FAILURE, "not processed"
        if self._refused is not None:
            self.abandon()


class _Mismatch(NoIdentity):
    """The dataset contradicts the request or the presentation context."""


def _meta(offered: Offered) -> bytes:
    """The file meta information to begin the file with; none for a request that can only end in quarantine."""
    if not is_uid(offered.sop_instance) or not is_uid(offered.abstract_syntax):
        return b""
    return file_meta(offered.abstract_syntax, offered.sop_instance, offered.transfer_syntax)


def _checked(offered: Offered, incoming: Incoming, early: Peeked | None) -> Peeked:
    """The object's identity, once request, presentation context and dataset agree on it (PS3.4 B.2.3)."""
    if not is_uid(offered.sop_instance):
        raise NoIdentity("The Affected SOP Instance UID of the request is no valid UID.")
    peeked = early or _read_back(offered, incoming)
    if peeked.identity.sop_instance != offered.sop_instance:
        raise _Mismatch("SOPInstanceUID of dataset and request differ.")
    if peeked.identity.sop_class != offered.sop_class:
        raise _Mismatch("SOPClassUID of dataset and request differ.")
    if peeked.identity.sop_class != offered.abstract_syntax:
        raise _Mismatch("SOPClassUID is not that of the presentation context.")
    return peeked


def _read_back(offered: Offered, incoming: Incoming) -> Peeked:
    """The identity from the file, where it does not stand at the beginning."""
    data = incoming.dataset()
    try:
        return peek(data, offered.transfer_syntax, incoming.dataset_at)
    finally:
        if isinstance(data, mmap.mmap):
            data.close()


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
