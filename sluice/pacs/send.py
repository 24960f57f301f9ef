"""Sending objects to a PACS or another node by C-STORE (PS3.4 Annex B): what routing and reports hand on.

An object goes in the transfer syntax that it has. One that is not compressed goes in Implicit VR Little Endian too,
which every node takes (PS3.5 10.1); a compressed one is not changed, because that would take its pixels apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom import dcmread
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import encode

from sluice.archive.part10 import Directory, NotTaken, encoded_in
from sluice.pacs.association import PacsAssociation, associate
from sluice.pacs.errors import PacsError

if TYPE_CHECKING:
    from sluice.pacs.governor import Governor
    from sluice.pacs.node import PacsNode

NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
WARNINGS = ("B000", "B006", "B007")  # stored, with remarks (PS3.4 table B.2-1)
MOST_CONTEXTS = 128  # of an association (PS3.8 9.3.2.2)


@dataclass(frozen=True)
class Outgoing:
    """An object to send: a DICOM file's bytes, or where they are.

    Attributes:
        sop_instance_uid: what its outcome is told by.
        source: the file, or its bytes.
    """

    sop_instance_uid: str
    source: Path | bytes


@dataclass(frozen=True)
class Sent:
    """What came of one object.

    Attributes:
        status: of the C-STORE, four hex digits; None where it was not asked.
        detail: why it is not there, without an identifier; None where it is.
    """

    sop_instance_uid: str
    status: str | None
    detail: str | None

    @property
    def is_there(self) -> bool:
        """Whether the node has it now."""
        return self.detail is None


@dataclass(frozen=True)
class _Readable:
    outgoing: Outgoing
    sop_class: UID
    sop_instance: UID
    syntax: UID

    @property
    def syntaxes(self) -> tuple[UID, ...]:
        if self.syntax not in NATIVE:
            return (self.syntax,)
        return (self.syntax, *(other for other in NATIVE if other != self.syntax))

    def encoded(self, syntax: UID) -> bytes:
        """The dataset in a transfer syntax; as it stands in the file where that is its own."""
        data = _bytes(self.outgoing)
        if syntax != self.syntax:
            written = encode(dcmread(BytesIO(data), force=True), syntax.is_implicit_VR, True)
            if written is None:
                raise ValueError("The object cannot be written in the transfer syntax that was accepted.")
            return written
        return data[encoded_in(data).dataset_at :]


def send(node: PacsNode, objects: Sequence[Outgoing], governor: Governor | None = None) -> Iterator[Sent]:
    """Send objects, those alike in transfer syntax over one association; what came of each, as it comes.

    What one node refuses does not keep the others from it: an object that cannot be read or is not taken has a detail.
    Where the association breaks off, the rest of it has that as its detail.

    Raises:
        GovernorStop: the node must not be asked now; what was told before is done.
    """
    readable: list[_Readable] = []
    for one in objects:
        read = _read(one)
        if isinstance(read, Sent):
            yield read
        else:
            readable.append(read)
    readable.sort(key=lambda one: (one.syntaxes, one.sop_class))
    for syntaxes, group in groupby(readable, key=lambda one: one.syntaxes):
        alike = list(group)
        classes = list(dict.fromkeys(one.sop_class for one in alike))
        for start in range(0, len(classes), MOST_CONTEXTS):
            some = classes[start : start + MOST_CONTEXTS]
            yield from _send(node, [one for one in alike if one.sop_class in some], some, syntaxes, governor)


def _send(
    node: PacsNode, objects: list[_Readable], classes: list[UID], syntaxes: tuple[UID, ...], governor: Governor | None
) -> Iterator[Sent]:
    told = 0
    try:
        with associate(node, tuple(classes), governor=governor, syntaxes=syntaxes) as association:
            for one in objects:
                sent = _one(association, node, one)
                told += 1
                yield sent
    except PacsError as error:
        for one in objects[told:]:
            yield Sent(one.outgoing.sop_instance_uid, None, str(error))


def _one(association: PacsAssociation, node: PacsNode, one: _Readable) -> Sent:
    uid = one.outgoing.sop_instance_uid
    if association.is_open and not association.offers(one.sop_class):
        return Sent(
            uid, None, f"{node.address} does not take {one.sop_class.name} as {one.syntax.name}: ask who runs it."
        )
    status = association.store(one.sop_class, one.sop_instance, one.encoded)
    if status == "0000" or status in WARNINGS:
        return Sent(uid, status, None)
    advice = "It is out of resources; try again later." if status.startswith("A7") else "See its log for this moment."
    return Sent(uid, status, f"{node.address} answered C-STORE with status {status}. {advice}")


def _read(outgoing: Outgoing) -> _Readable | Sent:
    try:
        found = encoded_in(_bytes(outgoing))
    except (OSError, NotTaken, Directory) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        return Sent(outgoing.sop_instance_uid, None, f"It cannot be read here: {said or type(error).__name__}.")
    return _Readable(
        outgoing,
        UID(found.peeked.identity.sop_class),
        UID(found.peeked.identity.sop_instance),
        UID(found.transfer_syntax),
    )


def _bytes(outgoing: Outgoing) -> bytes:
    source = outgoing.source
    return source if isinstance(source, bytes) else source.read_bytes()
