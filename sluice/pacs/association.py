"""The one place where an association with a PACS is opened.

Everything that is asked of a PACS goes through `associate`: presentation contexts, time limits, PDU size,
TCP_NODELAY (Nagle's algorithm adds 40 ms to each small request), a clean release, and errors that a person
can act on.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import pydicom.config
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from sluice.pacs.errors import (
    PacsAborted,
    PacsBusy,
    PacsError,
    PacsRefused,
    PacsStatusError,
    PacsTimedOut,
    PacsUnreachable,
    ServiceNotOffered,
    status_advice,
)
from sluice.pacs.governor.stops import GovernorStop
from sluice.pacs.node import PacsNode
from sluice.pacs.tls import TlsError, client_tls, why_not

if TYPE_CHECKING:
    from sluice.pacs.fetch.get import Fetching
    from sluice.pacs.governor import Governor

MAX_PDU_BYTES = 131_072  # the most that DCMTK sends or takes; fewer PDUs mean fewer Python steps
FIND = (StudyRootQueryRetrieveInformationModelFind,)
MOVE = (StudyRootQueryRetrieveInformationModelMove,)
GET = (StudyRootQueryRetrieveInformationModelGet,)
ECHO = (Verification,)

# pynetdicom logs identifiers of patients, pydicom warns with values; neither may reach a log of ours.
_config.LOG_HANDLER_LEVEL = "none"
_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
# A UID or AE title that breaks the rules must reach our own check, which answers with a status.
_config.VALIDATORS["UI"] = lambda value: (True, "")


class Serving(Protocol):
    """What we do as SCP on an association that we open: contexts, role selections (PS3.7 D.3.3.4), event handlers."""

    contexts: list[PresentationContext]
    roles: list[Any]
    handlers: list[Any]


@dataclass
class Found:
    """Answer of one C-FIND.

    Attributes:
        answers: the identifiers of the pending responses, in order.
        status: final status, four hex digits.
        unreadable: pending responses whose identifier could not be decoded.
        duration_ms: milliseconds from request to final response.
    """

    answers: list[Dataset] = field(default_factory=list)
    status: str = "0000"
    unreadable: int = 0
    duration_ms: int = 0


@dataclass
class Moved:
    """Answer of one C-MOVE, C-GET or WADO-RS request (PS3.4 C.4.2 and C.4.3, PS3.18 10.4).

    Attributes:
        status: final status, four hex digits, or three digits of HTTP; None when none came.
        completed, failed, warnings: sub-operations as the PACS last counted them.
        failed_uids: Failed SOP Instance UID List (0008,0058), where the PACS gives one.
        instances: by SOP Instance UID the reason code and status of those that we know more of than the PACS says,
            because we refused them ourselves or asked for them one by one.
        error: what ended it before a final status.
    """

    status: str | None = None
    completed: int = 0
    failed: int = 0
    warnings: int = 0
    failed_uids: frozenset[str] = frozenset()
    instances: dict[str, tuple[str, str]] = field(default_factory=dict)
    error: PacsError | None = None


class PacsAssociation:
    """An established association with a PACS; made by `associate`."""

    def __init__(self, node: PacsNode, association: Association) -> None:
        self.node = node
        self._association = association
        self._reactor = ReactorGate(association)

    @property
    def is_open(self) -> bool:
        """Whether more can be asked on it."""
        return bool(self._association.is_established)

    def release(self) -> None:
        """End it in order."""
        if self.is_open:
            self._association.release()

    def abort(self) -> None:
        """End it at once."""
        self._association.abort()

    def echo(self) -> str:
        """C-ECHO; the status in four hex digits."""
        self._reactor.park()
        status = self._association.send_c_echo()
        if "Status" not in status:
            raise self._ended("C-ECHO")
        return f"{status.Status:04X}"

    def find(self, identifier: Dataset) -> Found:
        """C-FIND; a failure status is returned, not raised, because a split may still get an answer.

        Raises:
            PacsAborted, PacsTimedOut: the association ended before the final response; `partial` is what came before.
        """
        found = Found()
        started = time.monotonic()
        model = self._offered(FIND[0], "C-FIND")
        self._reactor.park()
        for status, answer in self._association.send_c_find(identifier, model):
            if "Status" not in status:
                error = self._ended("C-FIND", started)
                found.duration_ms = round((time.monotonic() - started) * 1000)
                error.partial = found
                raise error
            if status.Status in (0xFF00, 0xFF01):
                if answer is None:
                    found.unreadable += 1
                else:
                    found.answers.append(answer)
            else:
                found.status = f"{status.Status:04X}"
        found.duration_ms = round((time.monotonic() - started) * 1000)
        return found

    def move(self, identifier: Dataset, progress: Callable[[], object] | None = None) -> Moved:
        """C-MOVE to the node's move destination; always returns, with `error` set when it broke off.

        Args:
            progress: any value that changes while instances arrive. A PACS may stay silent during a move (pending
                responses are optional), so the time limit runs only while neither it nor a response changes.
        """
        if not self.is_open:
            return Moved(error=self._ended("C-MOVE"))
        model = self._offered(MOVE[0], "C-MOVE")
        self._reactor.park()
        with _Watchdog(self._association, self.node.timeout_s, progress) as watchdog:
            answers = self._association.send_c_move(identifier, self.node.move_destination, model)
            return self._answers("C-MOVE", answers, watchdog)

    def get(self, identifier: Dataset, fetching: Fetching) -> Moved:
        """C-GET over this association, which was opened with `fetching`; always returns, with `error` set when it
        broke off. The time limit runs only while nothing at all arrives."""
        if not self.is_open:
            return Moved(error=self._ended("C-GET"))
        model = self._offered(GET[0], "C-GET")
        self._reactor.park()
        with _Watchdog(self._association, self.node.timeout_s, fetching.progress) as watchdog:
            moved = self._answers("C-GET", self._association.send_c_get(identifier, model), watchdog)
        moved.instances = fetching.refused()
        return moved

    def event_report(self, sop_class: UID, sop_instance: UID, event_type: int, information: Dataset) -> str:
        """N-EVENT-REPORT (PS3.7 10.1.1); the status in four hex digits.

        Raises:
            PacsAborted, PacsTimedOut: the association ended before the response.
            ValueError: the context was not accepted.
        """
        started = time.monotonic()
        if not self.is_open:
            raise self._ended("N-EVENT-REPORT")
        self._reactor.park()
        status, _ = self._association.send_n_event_report(information, event_type, sop_class, sop_instance)
        if "Status" not in status:
            raise self._ended("N-EVENT-REPORT", started)
        return f"{status.Status:04X}"

    def offers(self, model: UID) -> bool:
        """Whether the PACS accepted a context for this query/retrieve model."""
        return model in {context.abstract_syntax for context in self._association.accepted_contexts}

    def _answers(self, service: str, answers: Iterator[tuple[Dataset, Dataset | None]], watchdog: _Watchdog) -> Moved:
        moved = Moved()
        for status, answer in answers:
            watchdog.sign_of_life()
            if "Status" not in status:
                moved.error = self._ended(service, timed_out=watchdog.barked)
                return moved
            moved.completed = int(status.get("NumberOfCompletedSuboperations") or moved.completed)
            moved.failed = int(status.get("NumberOfFailedSuboperations") or moved.failed)
            moved.warnings = int(status.get("NumberOfWarningSuboperations") or moved.warnings)
            if status.Status not in (0xFF00, 0xFF01):
                moved.status = f"{status.Status:04X}"
                moved.failed_uids = _failed_uids(answer)
        return moved

    def _offered(self, model: UID, service: str) -> UID:
        if not self.is_open:
            raise self._ended(service)
        if not self.offers(model):
            raise ServiceNotOffered(
                f"The PACS {self.node.address} does not offer {service} in Study Root. "
                "Ask its administrator to allow it to our AE title."
            )
        return model

    def _ended(self, service: str, started: float | None = None, timed_out: bool = False) -> PacsError:
        """Why there was no answer. pynetdicom aborts by itself at its DIMSE time limit."""
        limit = self.node.timeout_s
        if timed_out or (started is not None and time.monotonic() - started >= limit * 0.95):
            return PacsTimedOut(
                f"The PACS {self.node.address} gave no sign of life for {limit:g} s during {service}. "
                "Retry outside busy hours, or raise the time limit of the connection."
            )
        return PacsAborted(f"The PACS {self.node.address} broke the association off during {service}. Retry later.")


class _Watchdog:
    """Aborts an association when neither responses nor `progress` change for `limit_s`."""

    def __init__(self, association: Association, limit_s: float, progress: Callable[[], object] | None) -> None:
        self._association = association
        self._limit_s = limit_s
        self._progress = progress
        self._last_sign = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="move-watchdog")
        self.barked = False

    def sign_of_life(self) -> None:
        self._last_sign = time.monotonic()

    def __enter__(self) -> _Watchdog:
        self._patience = self._association.dimse_timeout
        self._association.dimse_timeout = None
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._association.dimse_timeout = self._patience

    def _watch(self) -> None:
        step = max(0.05, min(1.0, self._limit_s / 10))
        seen: object = None
        while not self._done.wait(step):
            if time.monotonic() - self._last_sign < self._limit_s:
                continue
            now = self._progress() if self._progress else None
            if now != seen:
                seen = now
                self.sign_of_life()
                continue
            self.barked = True
            self._association.abort()
            self._association.dimse.msg_queue.put((None, None))  # wakes the generator that waits for a response
            return


class ReactorGate:
    """Stands in for pynetdicom's reactor checkpoint and knows when the reactor really waits.

    Before a request pynetdicom pauses its reactor thread, but may take a thread that is just about to look for a
    message as paused. A quick response is then taken by that thread and dropped, and the requestor waits for it until
    its time limit. On a loaded machine that happens once in some thousand queries.
    """

    def __init__(self, association: Any) -> None:
        self._association = association
        self._changed = threading.Condition()
        self._open = True
        self._waiting = False
        association._reactor_checkpoint = self

    def set(self) -> None:
        """Let the reactor go on."""
        with self._changed:
            self._open, self._waiting = True, False
            self._changed.notify_all()

    def clear(self) -> None:
        """Make the reactor wait when it comes by."""
        with self._changed:
            self._open = False

    def wait(self) -> None:
        """Called by the reactor in each of its rounds."""
        with self._changed:
            while not self._open:
                self._waiting = True
                self._changed.notify_all()
                self._changed.wait()

    def park(self) -> None:
        """Return when the reactor waits, so that the next response is ours; or when the association is over."""
        with self._changed:
            self._open = False
            while not self._waiting and self._association.is_alive():
                self._changed.wait(0.5)


def no_delay(event: evt.Event) -> None:
    """Handler of EVT_CONN_OPEN: TCP_NODELAY on the association's socket."""
    transport: Any = event.assoc.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@contextmanager
def associate(
    node: PacsNode, contexts: tuple[UID, ...], fetching: Serving | None = None, governor: Governor | None = None
) -> Iterator[PacsAssociation]:
    """An association with `node` for the abstract syntaxes `contexts`, released at the end.

    Args:
        fetching: what we serve ourselves on it: `Fetching` for C-GET, or the report of a storage commitment.
        governor: what every request has to pass; None for tests and the Test button of the connection.

    Raises:
        PacsUnreachable, PacsRefused, PacsTimedOut, PacsAborted, TlsError: it was not established.
        GovernorStop: the PACS must not be asked now.
    """
    with ExitStack() as stack:
        connect = partial(_connect, node, contexts, fetching)
        if governor is None:
            association = PacsAssociation(node, connect())
        else:
            from sluice.pacs.governor.governed import GovernedAssociation

            association = GovernedAssociation(node, connect, stack.enter_context(governor.association()))
        try:
            yield association
        except GovernorStop:
            association.release()  # nothing is wrong with it
            raise
        except BaseException:
            association.abort()
            raise
        else:
            association.release()


def _connect(node: PacsNode, contexts: tuple[UID, ...], fetching: Serving | None) -> Association:
    entity = AE(ae_title=node.calling_ae_title)
    entity.acse_timeout = entity.dimse_timeout = entity.connection_timeout = node.timeout_s
    entity.network_timeout = None  # the DIMSE time limit decides; a long C-MOVE may be silent
    for syntax in contexts:
        entity.add_requested_context(syntax, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    if fetching is not None:
        entity.requested_contexts = [*entity.requested_contexts, *fetching.contexts]
    opened = threading.Event()

    def connected(event: evt.Event) -> None:
        opened.set()
        no_delay(event)

    started = time.monotonic()
    try:
        association = entity.associate(
            node.host,
            node.port,
            ae_title=node.ae_title,
            max_pdu=MAX_PDU_BYTES,
            tls_args=client_tls(node),
            ext_neg=fetching.roles if fetching else None,
            evt_handlers=[(evt.EVT_CONN_OPEN, connected), *(fetching.handlers if fetching else ())],
        )
    except OSError as error:  # an unknown host name
        raise PacsUnreachable(
            f"The host {node.host!r} of PACS {node.name!r} is not known ({error.strerror or error}). "
            "Check the host in the connection."
        ) from error
    if not association.is_established:
        raise _not_established(node, association, opened.is_set(), time.monotonic() - started)
    return association


def _not_established(node: PacsNode, association: Association, connected: bool, waited_s: float) -> PacsError:
    if association.is_rejected:
        primitive: Any = association.acceptor.primitive
        source, reason = int(primitive.result_source), int(primitive.diagnostic)
        kind = PacsBusy if source == 3 or primitive.result == 2 else PacsRefused
        return kind(_rejection(node, source, reason))
    if node.tls and (insecure := why_not(node)):
        return TlsError(insecure)
    if not connected:
        return PacsUnreachable(
            f"Nobody answers at {node.host}:{node.port} (PACS {node.name!r}). "
            "Check host and port in the connection, the firewall between, and whether the PACS is up."
        )
    if waited_s >= node.timeout_s * 0.95:
        return PacsTimedOut(
            f"{node.host}:{node.port} took the connection but did not answer the association request within "
            f"{node.timeout_s:g} s. Is a DICOM service listening on this port?"
        )
    if association.rejected_contexts and not association.accepted_contexts:
        return ServiceNotOffered(
            f"The PACS {node.address} accepts our AE title {node.calling_ae_title!r}, but not the service asked for. "
            "Ask its administrator to allow query and retrieve."
        )
    if not node.tls and (insecure := why_not(node)):
        return TlsError(insecure)
    return PacsAborted(
        f"{node.host}:{node.port} closed the connection before the association was made. "
        "Check that this is the DICOM port and that the PACS knows our AE title and address."
    )


def _rejection(node: PacsNode, source: int, reason: int) -> str:
    """Message for an A-ASSOCIATE-RJ (PS3.8 table 9-21)."""
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


def _failed_uids(answer: Dataset | None) -> frozenset[str]:
    value: Any = answer.get("FailedSOPInstanceUIDList") if answer is not None else None
    if not value:
        return frozenset()
    return frozenset([str(value)] if isinstance(value, str) else [str(uid) for uid in value])


def identifier_of(level: str, keys: Mapping[str, str | list[str]], return_keys: tuple[str, ...] = ()) -> Dataset:
    """An identifier for C-FIND or C-MOVE: matching keys with values, return keys empty (PS3.4 C.2.2)."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword in return_keys:
        setattr(identifier, keyword, None)
    if any(not "".join(value).isascii() for value in keys.values()):
        identifier.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    return identifier


def status_error(node: PacsNode, service: str, status: str) -> PacsStatusError:
    """The error for a failure status."""
    advice = status_advice(status, node.calling_ae_title, node.move_destination)
    return PacsStatusError(f"The PACS {node.address} answered {service} with status {status}. {advice}", status)
