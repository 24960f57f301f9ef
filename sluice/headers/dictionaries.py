"""Dictionaries: a header that others of its kind are compressed against, which matters where a series has one image.

The kind is SOP class, transfer syntax, manufacturer, model and station. The first header of a kind that a process meets
becomes a dictionary. What belongs to its patient or its moment by tag or VR is blanked: nothing compresses better with
it, and it must not outlive its own block.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from sluice.headers import columns
from sluice.headers.columns import Elements
from sluice.headers.header import Header
from sluice.headers.kept import Kept
from sluice.headers.parser import HeaderParser

MOST_BYTES = 32 << 10
KINDS = 256  # that a process remembers
KIND_TAGS = tuple(columns.SERIES_TEXTS[name] for name in ("manufacturer", "model_name", "station_name"))
OF_A_PATIENT = frozenset(
    {0x0010, 0x0032, 0x0038, 0x0040, 0x4008}
)  # groups: patient, requests, visits, procedures, results
OF_A_MOMENT = frozenset({"PN", "DA", "TM", "DT", "UI", "LT", "ST", "UT"})
_UIDS = re.compile(r"[0-9]+(?:\.[0-9]+){3,}").findall


@dataclass(frozen=True)
class Dictionary:
    """A dictionary; its id follows from its content, so that two processes with the same one agree."""

    dictionary_id: int
    kind: str
    content: bytes


class Dictionaries:
    """The dictionaries that this process compresses with."""

    def __init__(self) -> None:
        self._of_kind: OrderedDict[str, Dictionary] = OrderedDict()

    def remember(self, known: Iterable[Dictionary]) -> None:
        """Use these for headers of their kinds."""
        self._of_kind.update({dictionary.kind: dictionary for dictionary in known})

    def of(self, kind: str, header: Header) -> Dictionary | None:
        """The dictionary for a header, made of it where its kind has none; None where it cannot be one."""
        found = self._of_kind.get(kind)
        if found is None and not header.lenient and len(header.kept) <= MOST_BYTES:
            content = blanked(header)
            number = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), signed=True)
            found = self._of_kind[kind] = Dictionary(number, kind, content)
            if len(self._of_kind) > KINDS:
                self._of_kind.popitem(last=False)
        return found


def kind_of(elements: Elements, header: Header, sop_class_uid: str) -> str:
    """The kind of a header."""
    words = [columns.text(elements, tag) or "" for tag in KIND_TAGS]
    return json.dumps([sop_class_uid, header.transfer_syntax_uid, *words], ensure_ascii=False)


def blanked(header: Header) -> bytes:
    """The kept bytes up to the pixels, with spaces for values of the patient and of the moment."""
    spans = HeaderParser().spans(Kept(header.size, header.holes, header.kept, header.is_inflated))
    out = bytearray()
    for tag, text, raw in spans:
        vr = text[18:20]
        is_own = tag >> 16 in OF_A_PATIENT or vr in OF_A_MOMENT or tag == columns.STUDY_TEXTS["accession_number"]
        if vr == "SQ" and not is_own:
            is_own = any(f'"vr":"{inner}"' in text for inner in OF_A_MOMENT - {"UI"})
            for uid in _UIDS(text):
                raw = raw.replace(uid.encode(), b" " * len(uid))
        out += raw[:8] + b" " * (len(raw) - 8) if is_own else raw
    return bytes(out)
