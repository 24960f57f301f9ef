"""An association that we open and serve on: C-GET, and the report of a storage commitment. It is pynetdicom's."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from sluice.pacs.errors import (
    PacsError,
    broke_off,
    closed_early,
    no_association,
    no_sign_of_life,
    nobody_answers,
    nothing_accepted,
    rejected,
    unknown_host,
)
from sluice.pacs.interruption import LOOK_S, Interruption
from sluice.pacs.node import PacsNode
from sluice.pacs.outcomes import Found, Moved, failed_uids
from sluice.pacs.pdu import MAX_PDU_BYTES
from sluice.pacs.tls import TlsError, client_tls, why_not

if TYPE_CHECKING:
    from sluice.pacs.fetch.get import Fetching


class Serving(Protocol):
    """What we do as SCP on an association that we open: contexts, role selections (PS3.7 D.3.3.4), event handlers."""

    contexts: list[PresentationContext]
    roles: list[Any]
    handlers: list[Any]


class ServingLink:
    """An established association; made by `connect_serving`.

    Attributes:
        accepted: abstract syntaxes that the PACS accepted.
    """

    def __init__(self, node: PacsNode, association: Association) -> None:
        self.node = node
        self.accepted = frozenset(context.abstract_syntax for context in association.accepted_contexts)
        self._association = association
        self._reactor = ReactorGate(association)
        self._gets = 0

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

    def find(self, model: UID, identifier: Dataset) -> Found:
        """C-FIND; see `PacsAssociation.find`."""
        found = Found()
        started = time.monotonic()
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

    def get(
        self, model: UID, identifier: Dataset, fetching: Fetching, has_to_end: Callable[[], bool] | None = None
    ) -> Moved:
        """C-GET; see `PacsAssociation.get`."""
        self._reactor.park()
        # each has a message ID of its own, so that a C-CANCEL-RQ which came too late for one does not end the next
        self._gets = number = self._gets % 0xFFFF + 1
        interruption = Interruption(has_to_end)

        def cancel() -> None:
            self._association.send_c_cancel(number, query_model=model)

        with _Watchdog(self._association, self.node.timeout_s, fetching.progress, interruption, cancel) as watchdog:
            moved = self._answers("C-GET", self._association.send_c_get(identifier, model, number), watchdog)
        moved.instances = fetching.refused()
        return interruption.settle(moved)

    def event_report(self, sop_class: UID, sop_instance: UID, event_type: int, information: Dataset) -> str:
        """N-EVENT-REPORT; see `PacsAssociation.event_report`."""
        started = time.monotonic()
        self._reactor.park()
        status, _ = self._association.send_n_event_report(information, event_type, sop_class, sop_instance)
        if "Status" not in status:
            raise self._ended("N-EVENT-REPORT", started)
        return f"{status.Status:04X}"

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
                moved.failed_uids = failed_uids(answer)
        return moved

    def _ended(self, service: str, started: float | None = None, timed_out: bool = False) -> PacsError:
        """Why there was no answer. pynetdicom aborts by itself at its DIMSE time limit."""
        if timed_out or (started is not None and time.monotonic() - started >= self.node.timeout_s * 0.95):
            return no_sign_of_life(self.node, service)
        return broke_off(self.node, service)


class _Watchdog:
    """Aborts an association when neither responses nor `progress` change for `limit_s`; interrupts the request by
    `cancel`, and aborts where that does not end it."""

    def __init__(
        self,
        association: Association,
        limit_s: float,
        progress: Callable[[], object],
        interruption: Interruption,
        cancel: Callable[[], None],
    ) -> None:
        self._association = association
        self._limit_s = limit_s
        self._progress = progress
        self._interruption = interruption
        self._cancel = cancel
        self._seen: object = None
        self._last_sign = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="get-watchdog")
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
        step = max(0.05, min(LOOK_S, self._limit_s / 10))
        while not self._done.wait(step):
            if self._interruption.begins():
                with suppress(RuntimeError):  # the association ended by itself meanwhile
                    self._cancel()
            if self._interruption.left_s <= 0 or (not self._interruption.begun and self._is_silent()):
                self.barked = True
                self._association.abort()
                self._association.dimse.msg_queue.put((None, None))  # wakes the generator that waits for a response
                return

    def _is_silent(self) -> bool:
        if time.monotonic() - self._last_sign < self._limit_s:
            return False
        now = self._progress()
        if now == self._seen:
            return True
        self._seen = now
        self.sign_of_life()
        return False


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


def connect_serving(node: PacsNode, contexts: tuple[UID, ...], serving: Serving) -> ServingLink:
    """Open an association for the abstract syntaxes `contexts` and for what we serve.

    Raises:
        PacsUnreachable, PacsRefused, PacsTimedOut, PacsAborted, TlsError: it was not established.
    """
    entity = AE(ae_title=node.calling_ae_title)
    entity.acse_timeout = entity.dimse_timeout = entity.connection_timeout = node.timeout_s
    entity.network_timeout = None  # the DIMSE time limit decides; a long C-MOVE may be silent
    for syntax in contexts:
        entity.add_requested_context(syntax, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    entity.requested_contexts = [*entity.requested_contexts, *serving.contexts]
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
            ext_neg=serving.roles,
            evt_handlers=[(evt.EVT_CONN_OPEN, connected), *serving.handlers],
        )
    except OSError as error:  # an unknown host name
        raise unknown_host(node, error) from error
    if not association.is_established:
        raise _not_established(node, association, opened.is_set(), time.monotonic() - started)
    return ServingLink(node, association)


def _not_established(node: PacsNode, association: Association, connected: bool, waited_s: float) -> PacsError:
    if association.is_rejected:
        primitive: Any = association.acceptor.primitive
        return rejected(node, int(primitive.result), int(primitive.result_source), int(primitive.diagnostic))
    if node.tls and (insecure := why_not(node)):
        return TlsError(insecure)
    if not connected:
        return nobody_answers(node)
    if waited_s >= node.timeout_s * 0.95:
        return no_association(node)
    if association.rejected_contexts and not association.accepted_contexts:
        return nothing_accepted(node)
    if not node.tls and (insecure := why_not(node)):
        return TlsError(insecure)
    return closed_early(node)
