"""Opening an association that asks a PACS: TCP, TLS where the node wants it, negotiation."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Collection, Sequence

from pydicom.uid import UID

from sluice.pacs import pdu
from sluice.pacs.errors import (
    PacsError,
    closed_early,
    no_association,
    nobody_answers,
    nothing_accepted,
    rejected,
    unknown_host,
)
from sluice.pacs.node import PacsNode
from sluice.pacs.pdu import UNEXPECTED_PDU, Gone, Violation, Wire
from sluice.pacs.proposal import SYNTAXES, Answer, associate_rq, read_answer
from sluice.pacs.requestor import Requestor
from sluice.pacs.tls import TlsError, client_tls, handshake_fault, why_not


def connect(node: PacsNode, abstract_syntaxes: Collection[UID], syntaxes: Sequence[UID] = SYNTAXES) -> Requestor:
    """Open an association for these abstract syntaxes, each in any of the transfer syntaxes.

    Raises:
        PacsUnreachable, PacsRefused, PacsTimedOut, PacsAborted, TlsError: it was not established.
    """
    proposed = tuple(dict.fromkeys(abstract_syntaxes))
    secure = client_tls(node)
    connection = _connected(node)
    try:
        if secure is not None:
            connection = _secured(node, connection, *secure)
        wire = Wire(connection, node.timeout_s)
        requestor = Requestor(node, connection, wire, _negotiated(node, wire, proposed, syntaxes))
        if not requestor.accepted:
            requestor.release()
            raise nothing_accepted(node)
    except BaseException:
        connection.close()
        raise
    return requestor


def _connected(node: PacsNode) -> socket.socket:
    try:
        connection = socket.create_connection((node.host, node.port), node.timeout_s)
    except (socket.gaierror, UnicodeError) as error:
        raise unknown_host(node, error) from error
    except OSError as error:
        raise nobody_answers(node) from error
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _secured(node: PacsNode, connection: socket.socket, context: ssl.SSLContext, name: str) -> ssl.SSLSocket:
    try:
        return context.wrap_socket(connection, server_hostname=name)
    except TimeoutError as error:
        raise no_association(node) from error
    except OSError as error:
        fault = handshake_fault(node, error)
        raise (TlsError(fault) if fault else closed_early(node)) from error
    except ValueError as error:
        raise TlsError(f"The TLS name {name!r} of the connection {node.name!r} is none. Correct it there.") from error


def _negotiated(node: PacsNode, wire: Wire, proposed: tuple[UID, ...], syntaxes: Sequence[UID]) -> Answer:
    """What the PACS answers to our A-ASSOCIATE-RQ."""
    with contextlib.suppress(Gone):  # it may have rejected us unheard, and that can still be read
        wire.send(associate_rq(node, proposed, syntaxes))
    try:
        kind, body = wire.read()
        if kind == pdu.ASSOCIATE_AC:
            return read_answer(bytes(body), proposed, syntaxes)
        if kind == pdu.ASSOCIATE_RJ and len(body) == 4:
            raise rejected(node, *body[1:])
        if kind != pdu.ABORT:
            raise Violation(UNEXPECTED_PDU)
    except TimeoutError as error:
        with contextlib.suppress(Gone, TimeoutError):
            wire.send(pdu.abort(2, 0))
        raise no_association(node) from error
    except Violation as violation:
        with contextlib.suppress(Gone, TimeoutError):
            wire.send(pdu.abort(violation.source, violation.reason))
        raise _not_made(node, violation) from violation
    except Gone as gone:
        raise _not_made(node, gone.__cause__) from gone
    raise _not_made(node)


def _not_made(node: PacsNode, error: BaseException | None = None) -> PacsError:
    """Why the connection ended instead of an answer; TLS may be the cause."""
    fault = handshake_fault(node, error) if isinstance(error, ssl.SSLError) else None
    fault = fault or why_not(node)
    return TlsError(fault) if fault else closed_early(node)
