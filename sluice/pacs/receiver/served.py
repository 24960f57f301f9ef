"""One association of our Storage SCP, from the connection to its end: negotiation, C-STORE, C-ECHO, N-ACTION.

pynetdicom takes one Python step for each PDU and holds each object in memory. Here the fragments of a dataset go from
the socket's buffer straight into the archive's file, so an object may be of any size, and the time goes into reading,
hashing and writing, which need no interpreter lock.
"""

from __future__ import annotations

import logging
import math
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Protocol

from pydicom.dataset import Dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian
from pynetdicom.dsutils import decode

from sluice.archive.intake import Intake, Offered, Taking
from sluice.pacs import command as commands
from sluice.pacs import pdu
from sluice.pacs.command import Command, NoCommand, read_command, response
from sluice.pacs.pdu import UNEXPECTED_PDU, Gone, SpeaksTls, Violation, Wire
from sluice.pacs.receiver.commitment import MOST_REFERENCES, Asked
from sluice.pacs.receiver.negotiation import (
    APPLICATION_CONTEXT,
    COMMITMENT_PUSH,
    Agreed,
    Context,
    Requested,
    agree,
    read_request,
)

log = logging.getLogger(__name__)

ARTIM_S = 30.0  # for the association request, PS3.8 9.1.5
LEAST_BYTES_PER_S = 1000.0  # of a message under way, over the idle limit; a modem of 1990 was faster
MOST_ASKED_BYTES = 2 << 20  # of an N-ACTION's dataset: 10,000 references
ITEM_TAGS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")  # (FFFE,E000) by either byte order
BAD_REQUEST_VERSION = (1, 2, 2)  # rejected for good, service provider (ACSE), protocol version not supported
BAD_APPLICATION_CONTEXT = (1, 1, 2)
AT_OUR_LIMIT = (2, 3, 2)  # rejected for now, service provider (presentation), local limit exceeded
RESOURCE_LIMITATION = 0x0213


class Refusing(Protocol):
    """A-ASSOCIATE-RJ in numbers (PS3.8 table 9-21); `sluice.pacs.receiver.admission.Refusal` is one."""

    @property
    def result(self) -> int: ...  # noqa: D102
    @property
    def source(self) -> int: ...  # noqa: D102
    @property
    def reason(self) -> int: ...  # noqa: D102


class Admitting(Protocol):
    """Who may send; `sluice.pacs.receiver.admission.Admission` is one."""

    def refusal(self, calling_ae: str, called_ae: str, address: str) -> Refusing | None:
        """Why this association is rejected; None when it is welcome."""


class Committing(Protocol):
    """The Storage Commitment SCP; `sluice.pacs.receiver.commitment.Commitment` is one."""

    def tells(self, calling_ae: str) -> bool:
        """Whether this sender may ask at all; what others ask is not even decoded."""

    def take(self, asked: Asked) -> int:
        """Take a request; the status of its N-ACTION response."""


@dataclass(frozen=True)
class Terms:
    """What all associations of a receiver have in common; see `Receiver`."""

    intake: Intake
    move_sources: frozenset[str]
    count: Callable[[str], None]
    idle_s: float
    artim_s: float = ARTIM_S
    admission: Admitting | None = None
    commitment: Committing | None = None


class _Into(Protocol):
    """Where the fragments of a dataset go."""

    def write(self, data: memoryview) -> None: ...

    def finish(self) -> int: ...

    def abandon(self) -> None: ...


class ServedAssociation:
    """Serves one connection until it ends.

    Args:
        wire: the connection; the caller closes it afterwards.
        address: IP address of the peer.
        full: reject it, because as many as we bear are being served.
    """

    def __init__(self, terms: Terms, wire: Wire, address: str, full: bool = False) -> None:
        self._terms = terms
        self._wire = wire
        self._address = address
        self._full = full
        self._id = str(uuid.uuid4())
        self._request: Requested | None = None
        self._agreed: Agreed | None = None
        self._command = bytearray()
        self._awaited: tuple[Command, Context, _Into] | None = None
        self._due = math.inf  # when the message under way has been too slow
        self.ended = False  # set from outside; the association is then aborted as soon as its thread looks

    def serve(self) -> None:
        """Return when the association is over, in whichever way. Never raises for what a peer does."""
        try:
            if self._associate():
                self._converse()
        except Violation as violation:
            if isinstance(violation, SpeaksTls):
                log.info(
                    "The sender at %s speaks TLS, but this receiver does not: set SLUICE_RECEIVER_TLS_CERTIFICATE, "
                    "or switch TLS off at the sender.",
                    self._address,
                )
            self._abort(violation.source, violation.reason)
        except TimeoutError:
            self._abort(2, 0)
        except Gone:
            if self.ended:
                self._abort(2, 0)
            elif self._agreed is not None:
                self._terms.count("association broken off")
        finally:
            if self._awaited is not None:
                self._awaited[2].abandon()

    def _associate(self) -> bool:
        """Negotiate; False when it was rejected."""
        kind, body = self._wire.read()
        if kind == pdu.ABORT:
            return False
        if kind != pdu.ASSOCIATE_RQ:
            raise Violation(UNEXPECTED_PDU)
        request = read_request(bytes(body))
        rejection = self._rejection(request)
        if rejection is not None:
            self._terms.count("association rejected")
            self._wire.send(pdu.associate_rj(*rejection))
            self._wire.linger()
            return False
        self._request = request
        self._agreed = agree(request, self._terms.commitment is not None)
        self._wire.send(self._agreed.answer)
        self._wire.allow(self._terms.idle_s)
        self._wire.widen()
        return True

    def _rejection(self, request: Requested) -> tuple[int, int, int] | None:
        if not request.version & 1:
            return BAD_REQUEST_VERSION
        if request.application_context != APPLICATION_CONTEXT:
            return BAD_APPLICATION_CONTEXT
        if self._terms.admission is not None:
            refusal = self._terms.admission.refusal(request.calling_ae, request.called_ae, self._address)
            if refusal is not None:
                return refusal.result, refusal.source, refusal.reason
        return AT_OUR_LIMIT if self._full else None

    def _converse(self) -> None:
        while True:
            kind, body = self._wire.read()
            if kind == pdu.P_DATA_TF:
                self._take_data(body)
                if self._awaited is not None or self._command:
                    self._keep_pace(len(body))
                else:
                    self._due = math.inf
            elif kind == pdu.RELEASE_RQ:
                self._wire.send(pdu.release_rp())
                return self._wire.linger()
            elif kind == pdu.ABORT:
                return self._terms.count("association aborted")
            else:
                raise Violation(UNEXPECTED_PDU)

    def _keep_pace(self, size: int) -> None:
        """A message that has begun has to come on: who sends a PDU now and then would keep its place for ever. Each
        byte gains time, but never more than the idle limit; between two messages a sender may think.

        Raises:
            TimeoutError: it is too slow.
        """
        now = time.monotonic()
        self._due = min(self._due + size / LEAST_BYTES_PER_S, now + self._terms.idle_s)
        if now > self._due:
            raise TimeoutError

    def _take_data(self, body: memoryview) -> None:
        for context_id, control, data in pdu.fragments(body):
            if control & 1:
                self._take_command(context_id, data, bool(control & 2))
            elif self._awaited is None or self._awaited[1].id != context_id:
                raise Violation(source=0)  # a dataset that no command announced
            else:
                request, context, into = self._awaited
                into.write(data)
                if control & 2:
                    self._awaited = None
                    self._answer(context, request, into.finish())

    def _take_command(self, context_id: int, data: memoryview, last: bool) -> None:
        assert self._agreed is not None
        context = self._agreed.contexts.get(context_id)
        if context is None:
            raise Violation(pdu.INVALID_PARAMETER)
        if self._awaited is not None:
            raise Violation(source=0)  # the dataset of the command before is still to come
        self._command += data
        if len(self._command) > commands.MOST_COMMAND_BYTES:
            raise Violation(source=0)
        if not last:
            return
        try:
            request = read_command(self._command)
        except NoCommand:
            raise Violation(source=0) from None
        self._command = bytearray()
        self._begin(context, request)

    def _begin(self, context: Context, request: Command) -> None:
        into: _Into
        if request.field == commands.C_STORE_RQ and context.is_storage:
            into = _Storing(self._terms, self._terms.intake.begin(self._offered(context, request)))
        elif request.field == commands.N_ACTION_RQ and context.abstract_syntax == COMMITMENT_PUSH:
            into = _Asking(lambda dataset: self._ask(context, request, dataset))
        elif request.field == commands.C_ECHO_RQ:
            into = _Dropping(0x0000)
        else:
            into = _Dropping(commands.UNRECOGNIZED_OPERATION)
        if request.has_dataset:
            self._awaited = (request, context, into)
        else:
            self._answer(context, request, into.finish())

    def _answer(self, context: Context, request: Command, status: int) -> None:
        assert self._request is not None
        if request.field & commands.RESPONSE or request.field == commands.C_CANCEL_RQ:
            return  # these are not answered
        self._wire.send(pdu.command_pdus(context.id, response(request, status), self._request.max_pdu))

    def _offered(self, context: Context, request: Command) -> Offered:
        assert self._request is not None
        calling = self._request.calling_ae
        moved = calling in self._terms.move_sources or bool(request.text(commands.MOVE_ORIGINATOR))
        return Offered(
            sop_class=request.text(commands.AFFECTED_CLASS),
            sop_instance=request.text(commands.AFFECTED_INSTANCE),
            abstract_syntax=context.abstract_syntax,
            transfer_syntax=context.transfer_syntax,
            source="move" if moved else "push",
            calling_ae=calling,
            called_ae=self._request.called_ae,
            peer=self._address,
            association=self._id,
        )

    def _ask(self, context: Context, request: Command, dataset: bytes) -> int:
        assert self._request is not None
        assert self._terms.commitment is not None
        calling = self._request.calling_ae
        if max(dataset.count(tag) for tag in ITEM_TAGS) > MOST_REFERENCES:
            return RESOURCE_LIMITATION  # counted before it is decoded: a million empty items take minutes
        asked = Asked(
            sop_class=request.text(commands.REQUESTED_CLASS),
            sop_instance=request.text(commands.REQUESTED_INSTANCE),
            action_type=request.number(commands.ACTION_TYPE),
            information=_decoded(dataset, context.transfer_syntax) if self._terms.commitment.tells(calling) else None,
            calling_ae=calling,
            called_ae=self._request.called_ae,
            peer=self._address,
            association=self._id,
        )
        return self._terms.commitment.take(asked)

    def _abort(self, source: int, reason: int) -> None:
        self._terms.count("association broken off")
        try:
            self._wire.send(pdu.abort(source, reason))
            if not self.ended:
                self._wire.linger()
        except (Gone, TimeoutError):
            pass


def _decoded(dataset: bytes, transfer_syntax: str) -> Dataset | None:
    """The action information; None when there is none or it cannot be decoded."""
    syntax = UID(transfer_syntax)
    if syntax == DeflatedExplicitVRLittleEndian:
        return None  # a megabyte of it may be a gigabyte, and nobody deflates a list of UIDs
    try:
        return decode(BytesIO(dataset), syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
    except Exception:  # whatever a hostile dataset does to the parser
        return None


class _Storing:
    """Into the archive."""

    def __init__(self, terms: Terms, taking: Taking) -> None:
        self._terms = terms
        self.write = taking.write
        self.abandon = taking.abandon
        self._taking = taking

    def finish(self) -> int:
        status, outcome = self._taking.finish()
        self._terms.count(outcome)
        return status


class _Asking:
    """Into memory, for storage commitment."""

    def __init__(self, ask: Callable[[bytes], int]) -> None:
        self._ask = ask
        self._dataset = bytearray()

    def write(self, data: memoryview) -> None:
        if len(self._dataset) <= MOST_ASKED_BYTES:
            self._dataset += data

    def finish(self) -> int:
        if len(self._dataset) > MOST_ASKED_BYTES:
            return RESOURCE_LIMITATION
        return self._ask(bytes(self._dataset))

    def abandon(self) -> None:
        self._dataset.clear()


class _Dropping:
    """Nowhere: a dataset that an operation came with that is none of ours."""

    def __init__(self, status: int) -> None:
        self._status = status

    def write(self, data: memoryview) -> None:
        pass

    def finish(self) -> int:
        return self._status

    def abandon(self) -> None:
        pass
