"""What we fetch ourselves goes the receiver's way, in this process: archive, receipt, and only then success."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from sluice.archive.files import Archive, ArchiveError
from sluice.archive.intake import Intake, Offered, Taking
from sluice.archive.receipts import ReceiptWriter
from sluice.database import Database
from sluice.pacs.node import PacsNode
from sluice.settings import Settings

REASONS = {0xA700: "no-space", 0xA900: "unusable-uids", 0xC000: "unusable-uids"}


class Storing:
    """Takes instances that C-GET or WADO-RS brings; a context manager.

    Args:
        database: where receipts go.
        archive: root folder of received files, the receiver's.
        spool: folder for receipts while Postgres is away, the receiver's, which replays what a killed task leaves.
        min_free_bytes: with less free disk every instance is refused before a byte is written.
    """

    def __init__(self, database: Database, archive: Path, spool: Path, min_free_bytes: int) -> None:
        self.archive = Archive(archive)
        self._writer = ReceiptWriter(database, spool)
        self._intake = Intake(self.archive, self._writer, min_free_bytes)

    @classmethod
    def of(cls, database: Database, settings: Settings) -> Self:
        """With the folders of an installation."""
        return cls(database, settings.archive, settings.home / "spool", settings.receiver_min_free_bytes)

    def __enter__(self) -> Self:
        try:
            # not Archive.prepare: a receiver in another container must not lose what it is writing
            self.archive.incoming.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArchiveError(
                f"The archive {self.archive.root} cannot be written ({error.strerror}). "
                "Check SLUICE_HOME and its permissions, where this task runs."
            ) from error
        self._writer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.stop()

    def begin(self, offered: Offered) -> Taking:
        """Begin to take one instance; see `Intake.begin`."""
        return self._intake.begin(offered)


def offering(node: PacsNode, peer: str) -> Callable[[str, str, str, str], Offered]:
    """How instances of one association or one HTTP session with `node` are offered to the intake.

    Returns:
        A function of SOP class, SOP instance, abstract syntax and transfer syntax.
    """
    association = str(uuid.uuid4())

    def offered(sop_class: str, sop_instance: str, abstract_syntax: str, transfer_syntax: str) -> Offered:
        return Offered(
            sop_class=sop_class,
            sop_instance=sop_instance,
            abstract_syntax=abstract_syntax,
            transfer_syntax=transfer_syntax,
            source="get",
            calling_ae=node.ae_title,  # who sends, as with a push
            called_ae=node.calling_ae_title,
            peer=peer,
            association=association,
        )

    return offered


def reason_of(status: int) -> str:
    """Reason code of an instance that our intake refused with this C-STORE status."""
    return REASONS.get(status, "not-stored")
