"""Why the governor lets no request through. None of these is a fault of the PACS, and none is permanent."""

from __future__ import annotations

from datetime import datetime


class GovernorStop(RuntimeError):  # noqa: N818
    """The PACS must not be asked now; the message says why and until when.

    Attributes:
        permanent: never; what stops us passes, or a person lifts it.
        until: when it is worth coming back; None where nobody knows.
    """

    permanent = False

    def __init__(self, message: str, until: datetime | None = None) -> None:
        super().__init__(message)
        self.until = until


class PacsClosed(GovernorStop):
    """It is outside the weekly hours in which the hospital lets us ask; `until` is when they begin again."""

    @property
    def opens_at(self) -> datetime | None:
        """When the hours begin; None when the week has none."""
        return self.until


class PacsOccupied(GovernorStop):
    """All slots are in use, and we have waited as long as we may at a stretch."""


class RetrievalPaused(GovernorStop):
    """A person paused the retrieval of this window."""


class RetrievalCancelled(GovernorStop):
    """A person cancelled the retrieval of this window."""


class GovernorLost(GovernorStop):
    """The slot is no longer ours, or Sluice's database that keeps the slots is away: nothing is asked ungoverned."""
