"""A peer that says whatever a test wants: PDUs, command sets and datasets written by hand, with wrong lengths too."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from tests.pacs.pretend import UID_ROOT

ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = 2, 3, 4, 5, 6, 7
APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
CT = str(CTImageStorage)
SYNTAX = str(ExplicitVRLittleEndian)
Context = tuple[int, str, Sequence[str]]  # id, abstract syntax, transfer syntaxes
ONE: tuple[Context, ...] = ((1, CT, (SYNTAX,)),)
BOTH: tuple[Context, ...] = (*ONE, (3, VERIFICATION, (SYNTAX,)), (5, CT, (SYNTAX,)))


def pdu(kind: int, body: bytes, length: int | None = None) -> bytes:
    """A PDU (PS3.8 9.3); `length` is what it says of itself."""
    return struct.pack(">BxI", kind, len(body) if length is None else length) + body


def item(kind: int, data: bytes, length: int | None = None) -> bytes:
    return struct.pack(">BxH", kind, len(data) if length is None else length) + data


def context_item(number: int, abstract: str, transfers: Iterable[str]) -> bytes:
    body = struct.pack(">B3x", number) + item(0x30, abstract.encode())
    return item(0x20, body + b"".join(item(0x40, syntax.encode()) for syntax in transfers))


def associate_rq(
    contexts: Iterable[Context] = ONE,
    called: bytes = b"SLUICE",
    calling: bytes = b"HOSTILE",
    version: int = 1,
    application: bytes = APPLICATION_CONTEXT,
    user: bytes | None = None,
    length: int | None = None,
) -> bytes:
    """An A-ASSOCIATE-RQ (PS3.8 9.3.2)."""
    body = struct.pack(">H2x16s16s32x", version, called.ljust(16), calling.ljust(16)) + item(0x10, application)
    body += b"".join(context_item(*context) for context in contexts)
    body += item(0x50, item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3")) if user is None else user
    return pdu(1, body, length)


def pdv(context: int, control: int, data: bytes, length: int | None = None) -> bytes:
    return struct.pack(">IBB", len(data) + 2 if length is None else length, context, control) + data


def p_data(context: int, control: int, data: bytes) -> bytes:
    """A P-DATA-TF with one fragment; control 1 is a command, 2 the last of its kind."""
    return pdu(P_DATA, pdv(context, control, data))


def command(elements: dict[int, bytes], group_length: int | None = None) -> bytes:
    """A command set by element number, Implicit VR Little Endian."""
    body = b"".join(struct.pack("<HHI", 0, number, len(value)) + value for number, value in sorted(elements.items()))
    return struct.pack("<HHII", 0, 0, 4, len(body) if group_length is None else group_length) + body


def uid(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return data + b"\0" * (len(data) % 2)


def short(value: int) -> bytes:
    return struct.pack("<H", value)


def store_elements(sop_class: str | bytes, sop_instance: str | bytes | None, dataset: bool = True) -> dict[int, bytes]:
    """A C-STORE-RQ (PS3.7 9.3.1.1)."""
    made = {
        0x0002: uid(sop_class),
        0x0100: short(0x0001),
        0x0110: short(1),
        0x0700: short(2),
        0x0800: short(0x0000 if dataset else 0x0101),
    }
    return made if sop_instance is None else made | {0x1000: uid(sop_instance)}


def echo_elements() -> dict[int, bytes]:
    return {0x0002: uid(VERIFICATION), 0x0100: short(0x0030), 0x0110: short(1), 0x0800: short(0x0101)}


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """A data element, Explicit VR Little Endian; `length` is what it says of itself."""
    said = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    return head + (struct.pack("<2xI", said) if vr in (b"OW", b"OB", b"SQ", b"UN") else struct.pack("<H", said)) + value


def dataset_of(
    sop_instance: str | bytes,
    sop_class: str | bytes = CT,
    study: str | bytes | None = "1.2.826.1",
    series: str | bytes | None = "1.2.826.1.1",
    pixels: bytes = bytes(64),
    pixel_length: int | None = None,
) -> bytes:
    """A small image, each value as it is given."""
    parts = [element(0x00080016, b"UI", uid(sop_class)), element(0x00080018, b"UI", uid(sop_instance))]
    parts += [element(0x00080020, b"DA", b"20261026"), element(0x00100020, b"LO", b"P1")]
    if study is not None:
        parts.append(element(0x0020000D, b"UI", uid(study)))
    if series is not None:
        parts.append(element(0x0020000E, b"UI", uid(series)))
    return b"".join([*parts, element(0x7FE00010, b"OW", pixels, pixel_length)])


def new_uid() -> str:
    return str(generate_uid(UID_ROOT))


class Hostile:
    """One connection; a context manager. What the other side says is read as PDUs."""

    def __init__(self, port: int, limit_s: float = 15.0) -> None:
        self.limit_s = limit_s
        self.socket = socket.create_connection(("127.0.0.1", port), limit_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, *data: bytes) -> Self:
        """Send as far as the other side takes it; a connection that it has closed is no error."""
        try:
            for part in data:
                self.socket.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return self

    def read(self) -> tuple[int, bytes] | None:
        """The next PDU; None when the connection was closed. A silence of `limit_s` fails the test."""
        head = self._exactly(6)
        if head is None:
            return None
        kind, length = struct.unpack(">BxI", head)
        assert length < 1 << 20, "an absurd PDU of the receiver"
        body = self._exactly(length)
        return None if body is None else (kind, body)

    def _exactly(self, size: int) -> bytes | None:
        data = b""
        deadline = time.monotonic() + self.limit_s
        while len(data) < size:
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                piece = self.socket.recv(size - len(data))
            except ConnectionResetError:
                return None
            except TimeoutError:
                raise AssertionError(f"nothing said for {self.limit_s} s, and not closed") from None
            if not piece:
                return None
            data += piece
        return data

    def associate(self, contexts: Iterable[Context] = BOTH) -> Self:
        """Establish an association."""
        self.send(associate_rq(contexts))
        answer = self.read()
        assert answer is not None
        assert answer[0] == ASSOCIATE_AC
        return self

    def ended(self) -> str:
        """How the other side ended it: `rejected r/s/d`, `aborted`, `closed`; other PDUs are passed over."""
        while (heard := self.read()) is not None:
            kind, body = heard
            if kind == ASSOCIATE_RJ:
                return f"rejected {body[1]}/{body[2]}/{body[3]}"
            if kind == ABORT:
                return "aborted"
        return "closed"

    def status(self) -> int | str:
        """Status of the response that comes next; how it ended where none comes."""
        heard = self.read()
        if heard is None:
            return "closed"
        kind, body = heard
        if kind == ABORT:
            return "aborted"
        assert kind == P_DATA, kind
        at = body.index(struct.pack("<HHI", 0, 0x0900, 2))
        return int(struct.unpack_from("<H", body, at + 8)[0])

    def store(
        self, sop_instance: str | bytes | None, dataset: bytes, sop_class: str | bytes = CT, context: int = 1
    ) -> int | str:
        """C-STORE; its status, or how it ended."""
        self.send(p_data(context, 3, command(store_elements(sop_class, sop_instance))))
        for at in range(0, len(dataset), 16000):
            self.send(p_data(context, 2 if at + 16000 >= len(dataset) else 0, dataset[at : at + 16000]))
        if not dataset:
            self.send(p_data(context, 2, b""))
        return self.status()

    def store_new(self, pixels: bytes = bytes(64), context: int = 1) -> int | str:
        """C-STORE of an object that nothing is wrong with."""
        instance = new_uid()
        return self.store(instance, dataset_of(instance, pixels=pixels), context=context)

    def release(self) -> None:
        self.send(pdu(RELEASE_RQ, bytes(4)))
        while (heard := self.read()) is not None and heard[0] != RELEASE_RP:
            pass
