"""Command sets of DIMSE messages (PS3.7 section 6.3 and Annex E): Implicit VR Little Endian, a dozen elements."""

from __future__ import annotations

import struct
from dataclasses import dataclass

C_STORE_RQ, C_ECHO_RQ, C_CANCEL_RQ, N_EVENT_REPORT_RQ, N_ACTION_RQ = 0x0001, 0x0030, 0x0FFF, 0x0100, 0x0130
C_FIND_RQ, C_MOVE_RQ = 0x0020, 0x0021
RESPONSE = 0x8000
NO_DATASET, DATASET = 0x0101, 0x0001
LOW_PRIORITY = 2
MOST_COMMAND_BYTES = 1 << 16
UNRECOGNIZED_OPERATION = 0x0211
_ELEMENT = struct.Struct("<HHI")
_SHORT = struct.Struct("<HHIH")

(AFFECTED_CLASS, REQUESTED_CLASS, FIELD, MESSAGE_ID, ANSWERED_ID, DATASET_TYPE, STATUS, AFFECTED_INSTANCE,
 REQUESTED_INSTANCE, ACTION_TYPE, MOVE_ORIGINATOR) = (
    0x0002, 0x0003, 0x0100, 0x0110, 0x0120, 0x0800, 0x0900, 0x1000, 0x1001, 0x1008, 0x1030,
)  # fmt: skip
MOVE_DESTINATION, PRIORITY, COMPLETED, FAILED, WARNINGS = 0x0600, 0x0700, 0x1021, 0x1022, 0x1023


class NoCommand(ValueError):  # noqa: N818
    """The bytes are no command set."""


@dataclass(frozen=True)
class Command:
    """A decoded command set.

    Attributes:
        values: raw values by element number (the group is 0000).
        field: Command Field (0000,0100), which operation it is.
        message_id: of a request, or the one that a response answers.
        has_dataset: a dataset follows.
    """

    values: dict[int, bytes]
    field: int
    message_id: int
    has_dataset: bool

    def text(self, element: int) -> str:
        """A value as text without padding; empty where it is absent."""
        return self.values.get(element, b"").decode("latin-1").strip(" \0")

    def number(self, element: int) -> int:
        """An unsigned short; 0 where it is absent."""
        return _number(self.values, element) or 0

    @property
    def status(self) -> int | None:
        """Status (0000,0900) of a response; None where it has none."""
        return _number(self.values, STATUS)


def read_command(data: bytes | bytearray) -> Command:
    """Decode a command set.

    Raises:
        NoCommand: it is cut off, holds other groups, or lacks what every message has.
    """
    values: dict[int, bytes] = {}
    position, end = 0, len(data)
    while position < end:
        if position + _ELEMENT.size > end:
            raise NoCommand
        group, element, length = _ELEMENT.unpack_from(data, position)
        position += _ELEMENT.size
        if group or position + length > end:
            raise NoCommand
        values[element] = bytes(data[position : position + length])
        position += length
    field = _number(values, FIELD)
    message_id = _number(values, ANSWERED_ID if (field or 0) & RESPONSE else MESSAGE_ID)
    if field is None or (message_id is None and field != C_CANCEL_RQ):
        raise NoCommand
    # any value but one means that a dataset follows; 0000 is what dcm4che writes
    return Command(values, field, message_id or 0, _number(values, DATASET_TYPE) not in (None, NO_DATASET))


def response(request: Command, status: int) -> bytes:
    """The command set that answers `request`: its UIDs as they came, no dataset (PS3.7 9.3, 10.3)."""
    parts = []
    sop_class = request.values.get(AFFECTED_CLASS) or request.values.get(REQUESTED_CLASS)
    if sop_class:
        parts.append(_raw(AFFECTED_CLASS, sop_class))
    parts.append(_short(FIELD, request.field | RESPONSE))
    parts.append(_short(ANSWERED_ID, request.message_id))
    parts.append(_short(DATASET_TYPE, NO_DATASET))
    parts.append(_short(STATUS, status))
    sop_instance = request.values.get(AFFECTED_INSTANCE) or request.values.get(REQUESTED_INSTANCE)
    if sop_instance:
        parts.append(_raw(AFFECTED_INSTANCE, sop_instance))
    if ACTION_TYPE in request.values:
        parts.append(_raw(ACTION_TYPE, request.values[ACTION_TYPE]))
    return _set(parts)


def request(
    field: int, sop_class: str, message_id: int, destination: str | None = None, instance: str | None = None
) -> bytes:
    """The command set of a C-ECHO, C-FIND, C-MOVE or C-STORE; but for the first with a dataset after it (PS3.7 9.3).

    Args:
        destination: the move destination's AE title, of a C-MOVE.
        instance: SOP Instance UID, of a C-STORE.
    """
    parts = [_raw(AFFECTED_CLASS, sop_class.encode("ascii")), _short(FIELD, field), _short(MESSAGE_ID, message_id)]
    if destination is not None:
        title = destination.encode("ascii")
        parts.append(_raw(MOVE_DESTINATION, title + b" " * (len(title) % 2)))
    if field != C_ECHO_RQ:
        parts.append(_short(PRIORITY, LOW_PRIORITY))
    parts.append(_short(DATASET_TYPE, NO_DATASET if field == C_ECHO_RQ else DATASET))
    if instance is not None:
        parts.append(_raw(AFFECTED_INSTANCE, instance.encode("ascii")))
    return _set(parts)


def cancel(message_id: int) -> bytes:
    """The command set of a C-CANCEL-RQ, for the request with this Message ID (PS3.7 9.3.2.3, 9.3.3.3, 9.3.4.3)."""
    return _set([_short(FIELD, C_CANCEL_RQ), _short(ANSWERED_ID, message_id), _short(DATASET_TYPE, NO_DATASET)])


def _set(parts: list[bytes]) -> bytes:
    body = b"".join(parts)
    return _ELEMENT.pack(0, 0, 4) + struct.pack("<I", len(body)) + body


def _number(values: dict[int, bytes], element: int) -> int | None:
    value = values.get(element)
    return int.from_bytes(value, "little") if value is not None and len(value) == 2 else None


def _short(element: int, value: int) -> bytes:
    return _SHORT.pack(0, element, 2, value)


def _raw(element: int, value: bytes) -> bytes:
    if len(value) % 2:
        value += b"\0"
    return _ELEMENT.pack(0, element, len(value)) + value
