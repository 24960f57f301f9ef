"""Association negotiation as the requestor (PS3.8 9.3.2 and 9.3.3); no length of the answer is believed unchecked."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from sluice.archive.files import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from sluice.pacs.node import PacsNode
from sluice.pacs.pdu import ASSOCIATE_RQ, HEADER, MAX_PDU_BYTES, item, items

APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
DEFAULT_MAX_PDU = 16_384  # of an acceptor that says nothing
_BEGIN = struct.Struct(">H2x16s16s32x")  # protocol version, called and calling AE title
_CONTEXT = struct.Struct(">BxBx")


@dataclass(frozen=True)
class Accepted:
    """A presentation context that the PACS accepted."""

    id: int
    transfer_syntax: UID


@dataclass(frozen=True)
class Answer:
    """A decoded A-ASSOCIATE-AC.

    Attributes:
        contexts: the accepted ones, by abstract syntax.
        max_pdu: the longest P-DATA-TF variable field that the PACS takes, bytes; 0 means any.
    """

    contexts: dict[UID, Accepted]
    max_pdu: int


def associate_rq(node: PacsNode, abstract_syntaxes: Sequence[UID], syntaxes: Sequence[UID] = SYNTAXES) -> bytes:
    """An A-ASSOCIATE-RQ with a presentation context for each abstract syntax, each in any of the transfer syntaxes."""
    transfers = b"".join(item(0x40, uid.encode("ascii")) for uid in syntaxes)
    contexts = [
        item(0x20, struct.pack(">B3x", number) + item(0x30, uid.encode("ascii")) + transfers)
        for number, uid in _numbered(abstract_syntaxes)
    ]
    user_information = (
        item(0x51, struct.pack(">I", MAX_PDU_BYTES))
        + item(0x52, IMPLEMENTATION_CLASS_UID.encode("ascii"))
        + item(0x55, IMPLEMENTATION_VERSION.encode("ascii"))
    )
    body = (
        _BEGIN.pack(1, _title(node.ae_title), _title(node.calling_ae_title))
        + item(0x10, APPLICATION_CONTEXT)
        + b"".join(contexts)
        + item(0x50, user_information)
    )
    return HEADER.pack(ASSOCIATE_RQ, len(body)) + body


def read_answer(body: bytes, abstract_syntaxes: Sequence[UID], syntaxes: Sequence[UID] = SYNTAXES) -> Answer:
    """Decode the variable field of an A-ASSOCIATE-AC.

    A context counts only when it was proposed, and with a transfer syntax that was.

    Raises:
        Violation: an item does not fit.
    """
    proposed = dict(_numbered(abstract_syntaxes))
    contexts: dict[UID, Accepted] = {}
    max_pdu = DEFAULT_MAX_PDU
    for kind, data in items(body[_BEGIN.size :]):
        if kind == 0x21 and len(data) >= _CONTEXT.size:
            number, result = _CONTEXT.unpack_from(data)
            syntax = next((_uid(value) for kind, value in items(data[_CONTEXT.size :]) if kind == 0x40), None)
            if result == 0 and number in proposed and syntax is not None and syntax in syntaxes:
                contexts[proposed[number]] = Accepted(number, UID(syntax))
        elif kind == 0x50:
            for kind_of, value in items(data):
                if kind_of == 0x51 and len(value) == 4:
                    max_pdu = int.from_bytes(value, "big")
    return Answer(contexts, max_pdu)


def _numbered(abstract_syntaxes: Sequence[UID]) -> list[tuple[int, UID]]:
    """With presentation context ids, which are odd."""
    return [(2 * position + 1, uid) for position, uid in enumerate(abstract_syntaxes)]


def _title(ae_title: str) -> bytes:
    return ae_title.encode("ascii").ljust(16)


def _uid(value: bytes) -> str:
    return value.decode("latin-1").strip(" \0")
