"""What goes wrong between us and a PACS, said so that somebody can act on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluice.pacs.node import PacsNode


class PacsError(RuntimeError):
    """A PACS did not do what was asked; the message says what happened, to what, and what to do.

    Attributes:
        reason_code: the code under which the ledger keeps it (`sql/migrations/0001_ledger.sql`).
        permanent: asking again cannot help until a person has changed something.
        partial: what a C-FIND was answered before it broke off (`sluice.pacs.outcomes.Found`).
    """

    reason_code = "refused"
    permanent = False
    partial: object = None


class PacsUnreachable(PacsError):  # noqa: N818
    """Nobody listens at that host and port."""

    reason_code = "pacs-unreachable"


class PacsRefused(PacsError):  # noqa: N818
    """The PACS rejected the association (A-ASSOCIATE-RJ, PS3.8 9.3.4) or offers no context that we need."""

    permanent = True


class ServiceNotOffered(PacsRefused):
    """The PACS takes our association, but not the service that we need."""


class PacsBusy(PacsRefused):
    """The PACS rejects us for now: too many associations are open (PS3.8 9.3.4, source 3), or HTTP 429 or 503.

    Attributes:
        retry_after_s: how long it asks us to wait, seconds; 0 where it does not say.
        status: the HTTP status; None of an association.
    """

    permanent = False

    def __init__(self, message: str, retry_after_s: float = 0.0, status: str | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.status = status


class PacsAborted(PacsError):  # noqa: N818
    """The PACS aborted the association or closed the connection in the middle."""

    reason_code = "aborted"


class PacsTimedOut(PacsError):  # noqa: N818
    """No answer within the time limit."""

    reason_code = "timed-out"


class PacsStatusError(PacsError):
    """A failure status of a DIMSE response (PS3.4 C.4, PS3.7 Annex C).

    Attributes:
        status: the status, four hex digits.
    """

    def __init__(self, message: str, status: str) -> None:
        super().__init__(message)
        self.status = status
        self.permanent = status in ("A801", "A900", "0122", "0124")


_ADVICE = {
    "A801": "The PACS does not know the move destination {destination}. Ask its administrator to add our AE title "
    "with the host and port of our receiver.",
    "A900": "The PACS does not accept this kind of query. Its conformance statement says which levels it offers.",
    "0110": "The PACS failed in processing. Look into its log; retry later.",
    "0122": "The PACS does not offer this service.",
    "0124": "The PACS does not allow this to our AE title {calling}. Ask its administrator.",
}


def status_advice(status: str, calling: str, destination: str) -> str:
    """What to do about a failure status of C-FIND, C-MOVE or C-GET (PS3.4 tables C.4-1 to C.4-3)."""
    if status in _ADVICE:
        return _ADVICE[status].format(calling=calling, destination=destination)
    if status.startswith("A7"):
        return "The PACS is out of resources. Retry later; the page PACS shows how far we slowed down."
    if status == "FE00":
        return "The PACS cancelled the request. Retry; if it persists ask its administrator."
    return "Look into the log of the PACS for this moment; retry later."


def unknown_host(node: PacsNode, error: Exception) -> PacsUnreachable:
    """The host name leads nowhere."""
    return PacsUnreachable(
        f"The host {node.host!r} of PACS {node.name!r} is not known ({getattr(error, 'strerror', None) or error}). "
        "Check the host in the connection."
    )


def nobody_answers(node: PacsNode) -> PacsUnreachable:
    """No TCP connection."""
    return PacsUnreachable(
        f"Nobody answers at {node.host}:{node.port} (PACS {node.name!r}). "
        "Check host and port in the connection, the firewall between, and whether the PACS is up."
    )


def no_association(node: PacsNode) -> PacsTimedOut:
    """A TCP connection, but no answer to the A-ASSOCIATE-RQ."""
    return PacsTimedOut(
        f"{node.host}:{node.port} took the connection but did not answer the association request within "
        f"{node.timeout_s:g} s. Is a DICOM service listening on this port?"
    )


def closed_early(node: PacsNode) -> PacsAborted:
    """Something else than an answer to the A-ASSOCIATE-RQ."""
    return PacsAborted(
        f"{node.host}:{node.port} closed the connection before the association was made. "
        "Check that this is the DICOM port and that the PACS knows our AE title and address."
    )


def nothing_accepted(node: PacsNode) -> ServiceNotOffered:
    """An A-ASSOCIATE-AC without a presentation context."""
    return ServiceNotOffered(
        f"The PACS {node.address} accepts our AE title {node.calling_ae_title!r}, but not the service asked for. "
        "Ask its administrator to allow query and retrieve."
    )


def rejected(node: PacsNode, result: int, source: int, reason: int) -> PacsRefused:
    """An A-ASSOCIATE-RJ (PS3.8 table 9-21)."""
    kind = PacsBusy if source == 3 or result == 2 else PacsRefused
    return kind(_rejection(node, source, reason))


def _rejection(node: PacsNode, source: int, reason: int) -> str:
    if source == 1 and reason == 3:
        return (
            f"The PACS {node.address} does not know our AE title {node.calling_ae_title!r}. "
            "Ask its administrator to add it, or correct it in the connection."
        )
    if source == 1 and reason == 7:
        return (
            f"{node.host}:{node.port} does not answer to the AE title {node.ae_title!r}. "
            "Correct the AE title of the PACS in the connection."
        )
    if source == 3:
        return f"The PACS {node.address} is busy (local limit or congestion). Retry later; page PACS says who uses it."
    return (
        f"The PACS {node.address} rejected the association (source {source}, reason {reason}). "
        "Ask its administrator whether our AE title and address are allowed."
    )


def no_sign_of_life(node: PacsNode, service: str) -> PacsTimedOut:
    """A request that nothing came of within the time limit."""
    return PacsTimedOut(
        f"The PACS {node.address} gave no sign of life for {node.timeout_s:g} s during {service}. "
        "Retry outside busy hours, or raise the time limit of the connection."
    )


def broke_off(node: PacsNode, service: str) -> PacsAborted:
    """The association ended before the final response."""
    return PacsAborted(f"The PACS {node.address} broke the association off during {service}. Retry later.")
