"""A PACS made of bytes, so that it can say what no library would let it say."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

from sluice.pacs import pdu
from sluice.pacs.association import FIND, PacsAssociation, associate, identifier_of
from sluice.pacs.node import PacsNode
from sluice.pacs.outcomes import Found
from sluice.pacs.pdu import HEADER, PIECE, Gone, Wire, item

EXPLICIT, IMPLICIT = b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2"
ASKED = identifier_of("STUDY", {"StudyInstanceUID": "1.2.3"}, ("PatientID",))
LIMIT_S = 1.0


def node(port: int, **changes: Any) -> PacsNode:
    values = {"name": "odd", "host": "127.0.0.1", "port": port, "ae_title": "ODD", "calling_ae_title": "SLUICE_TEST",
              "move_destination": "SLUICE", "timeout_s": LIMIT_S}  # fmt: skip
    return PacsNode(**(values | changes))


def elements(*pairs: tuple[int, bytes]) -> bytes:
    """A command set without its length element, which nobody needs."""
    return b"".join(struct.pack("<HHI", 0, number, len(value)) + value for number, value in pairs)


def short(value: int) -> bytes:
    return struct.pack("<H", value)


def answered(field: int, status: int | None, number: int = 1, dataset: bool = False, **counts: int) -> bytes:
    """A response's command set."""
    pairs = [(0x0100, short(field)), (0x0120, short(number)), (0x0800, short(1 if dataset else 0x0101))]
    if status is not None:
        pairs.append((0x0900, short(status)))
    named = {"remaining": 0x1020, "completed": 0x1021, "failed": 0x1022, "warnings": 0x1023}
    return elements(*pairs, *((named[name], short(count)) for name, count in counts.items()))


FOUND, MOVED, ECHOED = 0x8020, 0x8021, 0x8030


def piece(data: bytes, command: bool, last: bool = True, context: int = 1) -> bytes:
    return PIECE.pack(len(data) + 2, context, command | last << 1) + data


def p_data(*pieces: bytes) -> bytes:
    body = b"".join(pieces)
    return HEADER.pack(pdu.P_DATA_TF, len(body)) + body


def message(command: bytes, dataset: bytes = b"") -> bytes:
    """Command set and dataset in a PDU each."""
    return p_data(piece(command, True)) + (p_data(piece(dataset, False)) if dataset else b"")


def encoded(**values: Any) -> bytes:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return encode(dataset, False, True) or b""


def answer_of(uid: str) -> bytes:
    return message(answered(FOUND, 0xFF00, dataset=True), encoded(StudyInstanceUID=uid))


def accepting(*results: int, max_pdu: int | None = 16_384, syntax: bytes = EXPLICIT, extra: bytes = b"") -> bytes:
    """An A-ASSOCIATE-AC with these results for the contexts 1, 3, 5."""
    contexts = b"".join(
        item(0x21, bytes((2 * number + 1, 0, result, 0)) + (b"" if result else item(0x40, syntax)))
        for number, result in enumerate(results or (0,))
    )
    sizes = b"" if max_pdu is None else item(0x51, struct.pack(">I", max_pdu))
    body = struct.pack(">H2x64x", 1) + item(0x10, b"1.2.840.10008.3.1.1.1") + contexts + item(0x50, sizes) + extra
    return HEADER.pack(pdu.ASSOCIATE_AC, len(body)) + body


class Peer:
    """One connection of the odd PACS.

    Attributes:
        heard: types of the PDUs that came, in order.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = connection
        self.wire = Wire(connection, 10)
        self.heard: list[int] = []

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def read(self) -> tuple[int, bytes]:
        kind, body = self.wire.read()
        self.heard.append(kind)
        return kind, bytes(body)

    def request(self) -> tuple[bytes, bytes]:
        """Command set and identifier of the next request, or its command set only."""
        parts = {True: b"", False: b""}
        while True:
            kind, body = self.read()
            assert kind == pdu.P_DATA_TF, f"PDU type {kind}"
            for _, control, data in pdu.fragments(memoryview(body)):
                parts[bool(control & 1)] += data
                if control & 2 and (not control & 1 or b"\x00\x08\x02\x00\x00\x00\x01\x01" in parts[True]):
                    return parts[True], parts[False]

    def rest(self) -> None:
        """Read until the association is over; grant its release."""
        with contextlib.suppress(Gone, TimeoutError):
            while True:
                kind, _ = self.read()
                if kind == pdu.RELEASE_RQ:
                    self.send(pdu.release_rp())


class OddPacs:
    """Listens and lets `script` play one connection after the other; a context manager."""

    def __init__(self, *scripts: Callable[[Peer], None]) -> None:
        self.scripts = scripts
        self.peers: list[Peer] = []
        self.errors: list[BaseException] = []

    def __enter__(self) -> OddPacs:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._listener.close()
        self._thread.join(20)
        assert not self._thread.is_alive()
        assert not self.errors, self.errors

    def _serve(self) -> None:
        number = 0
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            script = self.scripts[min(number, len(self.scripts) - 1)]
            number += 1
            with connection:
                self.peers.append(Peer(connection))
                try:
                    script(self.peers[-1])
                except (Gone, OSError):
                    pass
                except BaseException as error:  # shown by the test
                    self.errors.append(error)


def taking(answer: bytes, *then: bytes | Callable[[Peer], None]) -> Callable[[Peer], None]:
    """Send `answer` to the A-ASSOCIATE-RQ, `then` after a request, and stay until the association is over."""

    def play(peer: Peer) -> None:
        peer.read()
        peer.send(answer)
        if then:
            peer.request()
        for what in then:
            if isinstance(what, bytes):
                peer.send(what)
            else:
                what(peer)
        peer.rest()

    return play


@contextmanager
def asking(
    *then: bytes | Callable[[Peer], None], contexts: Any = FIND, answer: bytes = b"", **changes: Any
) -> Iterator[tuple[PacsAssociation, OddPacs]]:
    """An association with an odd PACS that does `then` upon the first request."""
    with OddPacs(taking(answer or accepting(), *then)) as odd, associate(node(odd.port, **changes), contexts) as to:
        yield to, odd


def uids(found: Found) -> list[str]:
    return [answer.StudyInstanceUID for answer in found.answers]


def ended_by(odd: OddPacs, kind: int) -> bool:
    """Whether the last PDU that the PACS heard is of this type; waits for it."""
    deadline = time.monotonic() + 10
    while not odd.peers or odd.peers[0].heard[-1:] != [kind]:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
