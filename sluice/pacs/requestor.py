"""An association that asks a PACS, on a blocking socket in the caller's thread: C-ECHO, C-FIND, C-MOVE, C-STORE.

One request at a time (PS3.7 D.3.3.3 is not negotiated). Whatever else the PACS sends meanwhile is answered as the
standard asks: its requests are refused, its A-RELEASE-RQ is granted, answers to another request are passed over.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.dsutils import decode, encode

from sluice.pacs import pdu
from sluice.pacs.command import (
    C_CANCEL_RQ,
    C_ECHO_RQ,
    C_FIND_RQ,
    C_MOVE_RQ,
    C_STORE_RQ,
    COMPLETED,
    FAILED,
    MOST_COMMAND_BYTES,
    RESPONSE,
    UNRECOGNIZED_OPERATION,
    WARNINGS,
    Command,
    NoCommand,
    cancel,
    read_command,
    request,
    response,
)
from sluice.pacs.errors import PacsError, broke_off, no_sign_of_life
from sluice.pacs.interruption import Interruption
from sluice.pacs.node import PacsNode
from sluice.pacs.outcomes import Found, Moved, failed_uids
from sluice.pacs.patience import Patience
from sluice.pacs.pdu import INVALID_PARAMETER, UNEXPECTED_PDU, Gone, Violation, Wire
from sluice.pacs.proposal import Accepted, Answer

PENDING = (0xFF00, 0xFF01)
MOST_IDENTIFIER_BYTES = 1 << 24  # a list of 200,000 failed instances
RELEASE_S = 5.0  # for the PACS to answer an A-RELEASE-RQ; its time limit where that is shorter
IDLE_LOOK_S = 0.05
SENT_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class _Message:
    command: Command
    context_id: int
    dataset: bytes


class Requestor:
    """An established association; made by `sluice.pacs.connecting.connect`. Not to be used by two threads at once.

    Attributes:
        accepted: abstract syntaxes that the PACS accepted.
    """

    def __init__(self, node: PacsNode, connection: socket.socket, wire: Wire, answer: Answer) -> None:
        self.node = node
        self.accepted = frozenset(answer.contexts)
        self._contexts = answer.contexts
        self._max_pdu = answer.max_pdu
        self._connection = connection
        self._wire = wire
        self._open = True
        self._message_id = 0
        self._command = bytearray()
        self._dataset = bytearray()
        self._begun: tuple[Command, int] | None = None  # a command whose dataset is still coming
        self._messages: deque[_Message] = deque()

    @property
    def is_open(self) -> bool:
        """Whether more can be asked on it; takes notice of what the PACS sent since the last request."""
        if self._open:
            try:
                while self._wire.waiting():
                    self._wire.allow(IDLE_LOOK_S)
                    self._read()
                    while self._messages:
                        self._refuse(self._messages.popleft())
            except TimeoutError:
                pass  # not a whole PDU
            except Gone:
                self._close()
            except Violation as violation:
                self.abort(violation)
        return self._open

    def release(self) -> None:
        """End it in order (PS3.8 7.2); a PACS that does not answer is left."""
        if not self._open:
            return
        end = time.monotonic() + min(RELEASE_S, self.node.timeout_s)
        with contextlib.suppress(Gone, Violation, TimeoutError):
            self._wire.allow(min(RELEASE_S, self.node.timeout_s))
            self._wire.send(pdu.release_rq())
            while (left := end - time.monotonic()) > 0:
                self._wire.allow(left)
                kind, _ = self._wire.read()
                if kind in (pdu.RELEASE_RP, pdu.ABORT):
                    break
                if kind == pdu.RELEASE_RQ:  # both at once: the requestor grants it first (PS3.8 9.2, action AR-8)
                    self._wire.send(pdu.release_rp())
        self._close()

    def abort(self, violation: Violation | None = None) -> None:
        """End it at once, by the user or for a violation of the protocol."""
        if not self._open:
            return
        source, reason = (violation.source, violation.reason) if violation else (0, 0)
        with contextlib.suppress(Gone, TimeoutError):
            self._wire.allow(min(RELEASE_S, self.node.timeout_s))
            self._wire.send(pdu.abort(source, reason))
        self._close()

    def echo(self, model: UID) -> str:
        """C-ECHO; the status in four hex digits."""
        *_, answer = self._answers("C-ECHO", C_ECHO_RQ, model, None, Patience(self.node.timeout_s))
        return f"{answer.command.status:04X}"

    def find(self, model: UID, identifier: Dataset) -> Found:
        """C-FIND; an error carries what came before it as `partial`."""
        found = Found()
        started = time.monotonic()
        implicit = self._contexts[model].transfer_syntax.is_implicit_VR
        try:
            for answer in self._answers("C-FIND", C_FIND_RQ, model, identifier, Patience(self.node.timeout_s)):
                if answer.command.status not in PENDING:
                    found.status = f"{answer.command.status:04X}"
                elif (decoded := _decoded(answer.dataset, implicit)) is None:
                    found.unreadable += 1
                else:
                    found.answers.append(decoded)
        except PacsError as error:
            error.partial = found
            raise
        finally:
            found.duration_ms = round((time.monotonic() - started) * 1000)
        return found

    def move(
        self,
        model: UID,
        identifier: Dataset,
        progress: Callable[[], object] | None = None,
        has_to_end: Callable[[], bool] | None = None,
    ) -> Moved:
        """C-MOVE; always returns, with `error` set when it broke off, or `interrupted` when we ended it.

        Args:
            progress, has_to_end: see `PacsAssociation.move`.
        """
        moved = Moved()
        interruption = Interruption(has_to_end)
        patience = Patience(self.node.timeout_s, progress, interruption)
        try:
            for answer in self._answers("C-MOVE", C_MOVE_RQ, model, identifier, patience):
                said = answer.command
                moved.completed = said.number(COMPLETED) or moved.completed
                moved.failed = said.number(FAILED) or moved.failed
                moved.warnings = said.number(WARNINGS) or moved.warnings
                if said.status not in PENDING:
                    moved.status = f"{said.status:04X}"
                    implicit = self._contexts[model].transfer_syntax.is_implicit_VR
                    moved.failed_uids = failed_uids(_decoded(answer.dataset, implicit))
        except PacsError as error:
            moved.error = error
        return interruption.settle(moved)

    def store(self, sop_class: UID, sop_instance: UID, encoded: Callable[[UID], bytes]) -> str:
        """C-STORE; the status in four hex digits.

        Args:
            encoded: gives the dataset in the transfer syntax that the PACS accepted.
        """
        data = encoded(self._contexts[sop_class].transfer_syntax)
        patience = Patience(self.node.timeout_s)
        *_, answer = self._answers("C-STORE", C_STORE_RQ, sop_class, data, patience, sop_instance)
        return f"{answer.command.status:04X}"

    def _answers(
        self,
        service: str,
        field: int,
        model: UID,
        dataset: Dataset | bytes | None,
        patience: Patience,
        instance: UID | None = None,
    ) -> Iterator[_Message]:
        """Send a request; its responses up to the final one, each with a status.

        Raises:
            PacsAborted, PacsTimedOut: the association is over.
        """
        context = self._contexts[model]
        self._message_id = self._message_id % 0xFFFF + 1
        try:
            self._ask(field, model, context, dataset, instance)
            status: int | None = PENDING[0]
            while status in PENDING:
                answer = self._awaited(field | RESPONSE, context, patience)
                patience.sign_of_life()
                status = answer.command.status
                yield answer
        except TimeoutError as error:
            self.abort()
            raise no_sign_of_life(self.node, service) from error
        except Violation as violation:
            self.abort(violation)
            raise broke_off(self.node, service) from violation
        except Gone as gone:
            self._close()
            raise broke_off(self.node, service) from gone

    def _ask(
        self, field: int, model: UID, context: Accepted, dataset: Dataset | bytes | None, instance: UID | None
    ) -> None:
        destination = self.node.move_destination if field == C_MOVE_RQ else None
        command = request(field, model, self._message_id, destination, instance)
        data = pdu.command_pdus(context.id, command, self._max_pdu)
        if isinstance(dataset, Dataset):
            dataset = encode(dataset, context.transfer_syntax.is_implicit_VR, True)
            if dataset is None:
                raise ValueError("The identifier of the request cannot be encoded.")
        if dataset is not None:
            data += pdu.dataset_pdus(context.id, dataset, self._max_pdu)
        for at in range(0, len(data), SENT_AT_ONCE):  # the limit is for a piece: a large image takes its time
            self._wire.allow(self.node.timeout_s)
            self._wire.send(data[at : at + SENT_AT_ONCE])

    def _awaited(self, field: int, context: Accepted, patience: Patience) -> _Message:
        """The next response to our request. What answers another request is none; what asks us is refused."""
        while True:
            while not self._messages:
                self._wire.allow(patience.wait_s())
                if patience.interruption.begins():
                    self._wire.send(pdu.command_pdus(context.id, cancel(self._message_id), self._max_pdu))
                try:
                    self._read()
                except TimeoutError:
                    patience.look()
            message = self._messages.popleft()
            if not message.command.field & RESPONSE:
                self._refuse(message)
            elif message.command.message_id == self._message_id:
                if message.command.field != field or message.command.status is None:
                    raise Violation(source=0)
                return message

    def _refuse(self, message: _Message) -> None:
        """We serve nothing here (PS3.7 C.5.23)."""
        field = message.command.field
        if not field & RESPONSE and field != C_CANCEL_RQ:
            refusal = response(message.command, UNRECOGNIZED_OPERATION)
            self._wire.send(pdu.command_pdus(message.context_id, refusal, self._max_pdu))

    def _read(self) -> None:
        """Take the next PDU.

        Raises:
            Gone: the association is over, because the PACS ended it.
        """
        kind, body = self._wire.read()
        if kind == pdu.P_DATA_TF:
            for context_id, control, data in pdu.fragments(body):
                self._take(context_id, control, data)
        elif kind == pdu.RELEASE_RQ:
            self._wire.send(pdu.release_rp())
            raise Gone
        elif kind == pdu.ABORT:
            raise Gone
        else:
            raise Violation(UNEXPECTED_PDU)

    def _take(self, context_id: int, control: int, data: memoryview) -> None:
        """A fragment of a message (PS3.8 E.2)."""
        if control & 1:
            if self._begun is not None or len(self._command) + len(data) > MOST_COMMAND_BYTES:
                raise Violation(source=0)
            self._command += data
            if not control & 2:
                return
            try:
                self._begun = read_command(self._command), context_id
            except NoCommand as error:
                raise Violation(source=0) from error
            self._command.clear()
            if self._begun[0].has_dataset:
                return
        else:
            if self._begun is None or self._begun[1] != context_id:
                raise Violation(source=0)  # a dataset that no command announced
            if len(self._dataset) + len(data) > MOST_IDENTIFIER_BYTES:
                raise Violation(INVALID_PARAMETER)
            self._dataset += data
            if not control & 2:
                return
        self._messages.append(_Message(*self._begun, bytes(self._dataset)))
        self._begun = None
        self._dataset.clear()

    def _close(self) -> None:
        self._open = False
        self._connection.close()


def _decoded(dataset: bytes, implicit: bool) -> Dataset | None:
    """An identifier; None where there is none or it cannot be read."""
    if not dataset:
        return None
    try:
        return decode(BytesIO(dataset), implicit, True)
    except Exception:  # pydicom raises many kinds for what it cannot read
        return None
