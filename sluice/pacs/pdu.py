"""The upper layer's PDUs on a socket (PS3.8 section 9.3), read without copying and without trusting a length."""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from collections.abc import Iterator

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA_TF, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
MAX_PDU_BYTES = 131_072  # the most that DCMTK sends or takes; fewer PDUs mean fewer Python steps
MOST_REQUEST_BYTES = 1 << 18  # of an A-ASSOCIATE-RQ: 128 contexts with 30 transfer syntaxes each need 150,000
MOST_BYTES = {ASSOCIATE_RQ: MOST_REQUEST_BYTES, ASSOCIATE_AC: MOST_REQUEST_BYTES, P_DATA_TF: MAX_PDU_BYTES}
BUFFER_BYTES = 4 * MAX_PDU_BYTES
FIRST_BUFFER_BYTES = 1 << 14  # until the association is made, because port scanners come in numbers
LINGER_S = 2.0
PIECE = struct.Struct(">IBB")  # before each fragment: item length, presentation context id, message control header
HEADER = struct.Struct(">BxI")
ITEM = struct.Struct(">BxH")

# Reasons of an A-ABORT by the service provider (PS3.8 table 9-26)
UNRECOGNIZED_PDU, UNEXPECTED_PDU, INVALID_PARAMETER = 1, 2, 6
TLS_HANDSHAKE = 0x16  # first byte of one (RFC 8446 5.1); no PDU has that type


class Violation(Exception):  # noqa: N818
    """The peer broke the protocol, which is answered by an A-ABORT.

    Args:
        reason: reason of the service provider, 0 when none is given.
        source: 2 the service provider, 0 the service user (then `reason` means nothing).
    """

    def __init__(self, reason: int = 0, source: int = 2) -> None:
        super().__init__(f"A-ABORT source {source}, reason {reason}")
        self.reason = reason
        self.source = source


class SpeaksTls(Violation):
    """The peer began a TLS handshake."""


class Gone(Exception):  # noqa: N818
    """The peer closed the connection."""


class Wire:
    """PDUs of one connection, in a buffer that several of them fit in.

    Args:
        connection: a connected socket, plain or TLS.
        limit_s: how long the peer may take for the next PDU, or for taking one of ours. After a `TimeoutError` of
            `read` the PDU can be read on; what has come of it is kept.
    """

    def __init__(self, connection: socket.socket, limit_s: float) -> None:
        self._connection = connection
        self._view = memoryview(bytearray(FIRST_BUFFER_BYTES))
        self._start = self._end = 0
        self.allow(limit_s)

    def allow(self, limit_s: float) -> None:
        """Change the time limit."""
        self._limit_s = limit_s
        self._connection.settimeout(limit_s)

    def waiting(self) -> bool:
        """Whether something of the peer is there to be read, if only that it closed."""
        if self._start < self._end or (isinstance(self._connection, ssl.SSLSocket) and self._connection.pending()):
            return True
        look = select.poll()  # unlike select.select it takes descriptors above 1023
        look.register(self._connection, select.POLLIN)
        return bool(look.poll(0))

    def widen(self) -> None:
        """Take a buffer for P-DATA."""
        self._fit(BUFFER_BYTES)

    def read(self) -> tuple[int, memoryview]:
        """Type and variable field of the next PDU; the memory is reused by the next call.

        Raises:
            Gone: the connection is closed.
            TimeoutError: the peer took too long; a PDU that has begun has to end within the limit, too.
            Violation: no such PDU, or one of an impossible length.
        """
        if self._end - self._start < HEADER.size:
            self._fill(HEADER.size)
        kind, length = HEADER.unpack_from(self._view, self._start)
        if not ASSOCIATE_RQ <= kind <= ABORT:
            raise SpeaksTls(UNRECOGNIZED_PDU) if kind == TLS_HANDSHAKE else Violation(UNRECOGNIZED_PDU)
        most = {ASSOCIATE_RQ: MOST_REQUEST_BYTES, ASSOCIATE_AC: MOST_REQUEST_BYTES, P_DATA_TF: MAX_PDU_BYTES}
        if length > most.get(kind, 4):
            raise Violation(INVALID_PARAMETER)
        self._fill(HEADER.size + length)
        begin = self._start + HEADER.size
        self._start = begin + length
        return kind, self._view[begin : self._start]

    def send(self, data: bytes) -> None:
        """Send a PDU.

        Raises:
            Gone: the connection is closed.
            TimeoutError: the peer does not take it.
        """
        try:
            self._connection.sendall(data)
        except TimeoutError:
            raise
        except OSError as error:
            raise Gone from error

    def linger(self) -> None:
        """Wait a little for the peer to close: what we sent last would be lost if we closed over unread data."""
        end = time.monotonic() + LINGER_S
        try:
            socket.socket.shutdown(self._connection, socket.SHUT_WR)  # of a TLS socket, too, only the TCP side
            while (left := end - time.monotonic()) > 0:
                self._connection.settimeout(left)
                if not self._connection.recv_into(self._view):
                    return
        except (OSError, ValueError):
            return

    def _fill(self, needed: int) -> None:
        """Receive until `needed` bytes are there; fewer are."""
        if self._start == self._end:
            self._start = self._end = 0
        if self._start + needed > len(self._view):
            self._fit(needed)
        deadline = time.monotonic() + self._limit_s
        first = True  # a whole PDU has to come within the limit, not each piece of it
        while self._end - self._start < needed:
            if not first:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                self._connection.settimeout(left)
            try:
                received = self._connection.recv_into(self._view[self._end :])
            except TimeoutError:
                raise
            except OSError as error:
                raise Gone from error
            if not received:
                raise Gone
            self._end += received
            first = first and self._end - self._start >= needed
        if not first:
            self._connection.settimeout(self._limit_s)

    def _fit(self, needed: int) -> None:
        """Move what is there to the front of a buffer that holds `needed` bytes."""
        left = bytes(self._view[self._start : self._end])
        if len(self._view) < needed:
            self._view = memoryview(bytearray(needed))
        self._view[: len(left)] = left
        self._start, self._end = 0, len(left)


def fragments(body: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Presentation context id, message control header and data of each PDV of a P-DATA-TF (PS3.8 9.3.5.1, E.2).

    Raises:
        Violation: the items do not fill the PDU.
    """
    position, end = 0, len(body)
    if not end:
        raise Violation(INVALID_PARAMETER)
    while position < end:
        if position + PIECE.size > end:
            raise Violation(INVALID_PARAMETER)
        length, context, control = PIECE.unpack_from(body, position)
        following = position + 4 + length
        if length < 2 or following > end:
            raise Violation(INVALID_PARAMETER)
        yield context, control, body[position + PIECE.size : following]
        position = following


def items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Types and contents of the items of an A-ASSOCIATE PDU, one level deep (PS3.8 9.3.1).

    Raises:
        Violation: an item does not fit.
    """
    position = 0
    while position < len(data):
        if position + ITEM.size > len(data):
            raise Violation(INVALID_PARAMETER)
        kind, length = ITEM.unpack_from(data, position)
        position += ITEM.size
        if position + length > len(data):
            raise Violation(INVALID_PARAMETER)
        yield kind, data[position : position + length]
        position += length


def item(kind: int, data: bytes) -> bytes:
    """One item of an A-ASSOCIATE PDU."""
    return ITEM.pack(kind, len(data)) + data


def command_pdus(context: int, command: bytes, max_pdu: int) -> bytes:
    """A command set as P-DATA-TF PDUs of at most `max_pdu` bytes each (0: no limit)."""
    return _data_pdus(context, command, max_pdu, 1)


def dataset_pdus(context: int, dataset: bytes, max_pdu: int) -> bytes:
    """The dataset after a command set, likewise."""
    return _data_pdus(context, dataset, max_pdu, 0)


def _data_pdus(context: int, data: bytes, max_pdu: int, kind: int) -> bytes:
    most = max(max_pdu - PIECE.size, 2) if max_pdu else len(data)
    parts = [data[at : at + most] for at in range(0, len(data), most)]
    return b"".join(
        HEADER.pack(P_DATA_TF, PIECE.size + len(part)) + PIECE.pack(len(part) + 2, context, kind | last << 1) + part
        for part, last in ((part, number == len(parts) - 1) for number, part in enumerate(parts))
    )


def release_rq() -> bytes:
    """A-RELEASE-RQ (PS3.8 9.3.6)."""
    return HEADER.pack(RELEASE_RQ, 4) + bytes(4)


def release_rp() -> bytes:
    """A-RELEASE-RP (PS3.8 9.3.7)."""
    return HEADER.pack(RELEASE_RP, 4) + bytes(4)


def abort(source: int, reason: int) -> bytes:
    """A-ABORT (PS3.8 9.3.8)."""
    return HEADER.pack(ABORT, 4) + bytes((0, 0, source, reason if source == 2 else 0))


def associate_rj(result: int, source: int, reason: int) -> bytes:
    """A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    return HEADER.pack(ASSOCIATE_RJ, 4) + bytes((0, result, source, reason))
