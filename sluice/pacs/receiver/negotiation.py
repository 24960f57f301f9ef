"""Association negotiation as the acceptor (PS3.8 9.3.2 and 9.3.3, PS3.7 Annex D.3).

We are a Storage SCP for every storage class, known, unknown or private, with whichever transfer syntax is proposed
first, because nothing is decoded. Items of unknown type are passed over, as the standard asks, and no length is
believed before it is checked.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import cache

from pynetdicom import sop_class as sop_classes
from pynetdicom.service_class import ServiceClass, StorageServiceClass

from sluice.archive.files import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from sluice.pacs.answers import is_uid
from sluice.pacs.pdu import ASSOCIATE_AC, HEADER, INVALID_PARAMETER, MAX_PDU_BYTES, Violation, item, items

VERIFICATION = "1.2.840.10008.1.1"
COMMITMENT_PUSH = "1.2.840.10008.1.20.1"
MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
# Results of a presentation context (PS3.8 table 9-18)
ACCEPTED, USER_REJECTED, NO_ABSTRACT_SYNTAX, NO_TRANSFER_SYNTAX = 0, 1, 3, 4
# Level 2 (all attributes kept), digital signatures level 3 (bit preserving), no coercion (PS3.4 B.3.1.4)
STORED_AS_SENT = bytes((2, 0, 3, 0, 0, 0))
DEFAULT_MAX_PDU = 16_384  # of a requestor that says nothing
_FIXED = struct.Struct(">H2x16s16s32s")
_LENGTH = struct.Struct(">H")


@dataclass(frozen=True)
class Proposed:
    """A presentation context as the requestor proposes it."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass
class Requested:
    """A decoded A-ASSOCIATE-RQ.

    Attributes:
        version: protocol version, a bit field; bit 0 is the only one there is.
        called_ae, calling_ae: without blanks.
        titles: the fields that an A-ASSOCIATE-AC repeats, as they came.
        max_pdu: the longest P-DATA-TF variable field that the requestor takes, bytes; 0 means any.
        roles: (SCU, SCP) that the requestor wants to be, by SOP class.
        extended: SOP classes of a SOP Class Extended Negotiation.
    """

    version: int
    called_ae: str
    calling_ae: str
    titles: bytes
    application_context: bytes = b""
    contexts: list[Proposed] = field(default_factory=list)
    max_pdu: int = DEFAULT_MAX_PDU
    roles: dict[str, tuple[bool, bool]] = field(default_factory=dict)
    extended: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Context:
    """A presentation context that was accepted."""

    id: int
    abstract_syntax: str
    transfer_syntax: str

    @property
    def is_storage(self) -> bool:
        """Whether C-STORE may use it."""
        return is_storage_class(self.abstract_syntax)


@dataclass(frozen=True)
class Agreed:
    """What was negotiated.

    Attributes:
        contexts: the accepted ones, by id.
        answer: the A-ASSOCIATE-AC.
    """

    contexts: dict[int, Context]
    answer: bytes


def read_request(body: bytes) -> Requested:
    """Decode the variable field of an A-ASSOCIATE-RQ.

    Raises:
        Violation: an item does not fit, or a context id is even or used twice.
    """
    try:
        version, called, calling, reserved = _FIXED.unpack_from(body)
        request = Requested(version, _title(called), _title(calling), called + calling + reserved)
        for kind, data in items(body[_FIXED.size :]):
            if kind == 0x10:
                request.application_context = data.rstrip(b"\0 ")
            elif kind == 0x20:
                request.contexts.append(_proposed(data))
            elif kind == 0x50:
                _read_user_information(request, data)
    except struct.error as error:
        raise Violation(INVALID_PARAMETER) from error
    ids = [context.id for context in request.contexts]
    if len(set(ids)) != len(ids) or not all(number % 2 for number in ids):
        raise Violation(INVALID_PARAMETER)
    return request


def agree(request: Requested, commitment: bool = False) -> Agreed:
    """Accept what we can.

    Args:
        commitment: whether storage commitment is offered.
    """
    contexts: dict[int, Context] = {}
    parts = [item(0x10, APPLICATION_CONTEXT)]
    for proposed in request.contexts:
        result, syntax = _judged(proposed, request.roles.get(proposed.abstract_syntax), commitment)
        if result == ACCEPTED:
            contexts[proposed.id] = Context(proposed.id, proposed.abstract_syntax, syntax)
        data = struct.pack(">BxBx", proposed.id, result) + item(0x40, syntax.encode("latin-1"))
        parts.append(item(0x21, data))
    parts.append(item(0x50, _user_information(request, {context.abstract_syntax for context in contexts.values()})))
    body = struct.pack(">H2x", 1) + request.titles + b"".join(parts)
    return Agreed(contexts, HEADER.pack(ASSOCIATE_AC, len(body)) + body)


@cache
def is_storage_class(abstract_syntax: str) -> bool:
    """Whether it is a storage class, or unknown or private and so perhaps one."""
    service: object = sop_classes.uid_to_service_class(abstract_syntax)
    if service is StorageServiceClass:
        return True
    return service is ServiceClass and abstract_syntax not in (MEDIA_DIRECTORY, VERIFICATION)


def _judged(proposed: Proposed, role: tuple[bool, bool] | None, commitment: bool) -> tuple[int, str]:
    """Result of one context and the transfer syntax to answer with (its value means nothing in a rejection)."""
    syntax = next((uid for uid in proposed.transfer_syntaxes if is_uid(uid)), "")
    taken = proposed.abstract_syntax == VERIFICATION or (commitment and proposed.abstract_syntax == COMMITMENT_PUSH)
    if not taken and not is_storage_class(proposed.abstract_syntax):
        return NO_ABSTRACT_SYNTAX, syntax
    if not syntax:
        return NO_TRANSFER_SYNTAX, syntax
    if role is not None and not role[0]:
        return USER_REJECTED, syntax  # it wants to be sent to, and we send nothing
    return ACCEPTED, syntax


def _user_information(request: Requested, accepted: set[str]) -> bytes:
    """Our half: sizes and names, the roles we take, and that objects stay as they were sent."""
    proposed = {context.abstract_syntax for context in request.contexts}
    parts = [
        item(0x51, struct.pack(">I", MAX_PDU_BYTES)),
        item(0x52, IMPLEMENTATION_CLASS_UID.encode()),
    ]
    for uid in proposed & request.roles.keys():
        scu, _ = request.roles[uid]
        parts.append(item(0x54, _with_length(uid) + bytes((scu, 0))))  # we are the SCP, and nothing else
    parts.append(item(0x55, IMPLEMENTATION_VERSION.encode()))
    for uid in accepted & request.extended:
        if is_storage_class(uid):
            parts.append(item(0x56, _with_length(uid) + STORED_AS_SENT))
    return b"".join(parts)


def _proposed(data: bytes) -> Proposed:
    (number,) = struct.unpack_from(">B3x", data)
    abstract, transfers = "", []
    for kind, value in items(data[4:]):
        if kind == 0x30:
            abstract = _uid(value)
        elif kind == 0x40:
            transfers.append(_uid(value))
    return Proposed(number, abstract, tuple(transfers))


def _read_user_information(request: Requested, data: bytes) -> None:
    for kind, value in items(data):
        if kind == 0x51:
            (request.max_pdu,) = struct.unpack_from(">I", value)
        elif kind == 0x54:
            uid, rest = _uid_first(value)
            scu, scp = struct.unpack_from(">BB", rest)
            request.roles[uid] = (bool(scu), bool(scp))
        elif kind == 0x56:
            request.extended.add(_uid_first(value)[0])


def _uid_first(value: bytes) -> tuple[str, bytes]:
    (length,) = _LENGTH.unpack_from(value)
    return _uid(value[2 : 2 + length]), value[2 + length :]


def _with_length(uid: str) -> bytes:
    return _LENGTH.pack(len(uid)) + uid.encode("latin-1")


def _uid(value: bytes) -> str:
    return value.decode("latin-1").strip(" \0")


def _title(value: bytes) -> str:
    return value.decode("latin-1").strip(" \0")
