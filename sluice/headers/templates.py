"""Templates: what most headers of a kind say alike, so that a block of few instances need not say it again.

The kind is that of `sluice.headers.dictionaries`. A template is made of the first two headers of a kind that a process
meets of two patients, and holds what both say; what is of a patient or a moment by tag or VR is left out even so. So it
holds nothing of one patient, who may have to be forgotten.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from sluice.headers.dictionaries import KINDS, OF_A_MOMENT, OF_A_PATIENT

MOST_INSTANCES = 3  # of a block with a template: in larger ones it saves little, and reading it costs something
FEWEST = 16  # elements that are worth a template
MOST_BYTES = 64 << 10
SOP_CLASS = "00080016"
WORTH = 0.5  # a block takes a template that leaves at most this share of its own
OF_A_MOMENT_INSIDE = tuple(f'"vr":"{vr}"' for vr in sorted(OF_A_MOMENT - {"UI"}))
_SEPARATOR = ",\n"  # no JSON text holds a bare line end


@dataclass(frozen=True)
class Template:
    """A template; its id follows from its content, so that two processes with the same one agree.

    Attributes:
        written: a JSON object of its elements, one a line.
    """

    template_id: int
    kind: str
    written: str

    @classmethod
    def of(cls, kind: str, texts: Iterable[str]) -> Template:
        """The template of element texts `"GGGGEEEE":{…}`."""
        written = "{" + _SEPARATOR.join(texts) + "}"
        digest = hashlib.blake2b(f"{kind}\n{written}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return cls(int.from_bytes(digest, signed=True), kind, written)

    @cached_property
    def texts(self) -> frozenset[str]:
        """Its elements."""
        return frozenset(self.written[1:-1].split(_SEPARATOR))

    @cached_property
    def tags(self) -> frozenset[str]:
        """Their tags, eight hex digits each."""
        return frozenset(map(_tag, self.texts))


class Apart(NamedTuple):
    """What a block says otherwise than its template: elements, and the tags of those that it has not."""

    template: Template
    elements: list[str]
    lacks: list[str]


class Templates:
    """The templates of this process."""

    def __init__(self) -> None:
        self._of_kind: OrderedDict[str, Template] = OrderedDict()
        self._first: OrderedDict[str, tuple[str, frozenset[str]]] = OrderedDict()

    def remember(self, known: Iterable[Template]) -> None:
        """Use these for headers of their kinds."""
        self._of_kind.update({template.kind: template for template in known})

    def apart(self, kind: str, patient_id: str, shared: Sequence[str]) -> Apart | None:
        """What a block has to say besides the template of its kind; None where it says all of it itself.

        Args:
            patient_id: whose it is; empty where nobody is named.
            shared: element texts of what its instances have alike.
        """
        template = self._of_kind.get(kind) or self._made(kind, patient_id, shared)
        if template is None:
            return None
        own = [text for text in shared if text not in template.texts]
        lacks = sorted(template.tags - set(map(_tag, shared)))
        if sum(map(len, own)) + 11 * len(lacks) > WORTH * sum(map(len, shared)):
            return None
        return Apart(template, own, lacks)

    def _made(self, kind: str, patient_id: str, shared: Sequence[str]) -> Template | None:
        if not patient_id or sum(map(len, shared)) > MOST_BYTES:
            return None
        first = self._first.setdefault(kind, (patient_id, frozenset(shared)))
        if len(self._first) > KINDS:
            self._first.popitem(last=False)
        if first[0] == patient_id:
            return None
        alike = [text for text in shared if text in first[1] and not is_own(text)]
        self._first.pop(kind, None)
        if len(alike) < FEWEST:
            return None
        template = self._of_kind[kind] = Template.of(kind, alike)
        if len(self._of_kind) > KINDS:
            self._of_kind.popitem(last=False)
        return template


def is_own(text: str) -> bool:
    """Whether an element is of a patient or a moment, by its tag or a VR in it."""
    if int(text[1:5], 16) in OF_A_PATIENT or (text[11:].startswith('{"vr":"UI"') and _tag(text) != SOP_CLASS):
        return True
    return any(vr in text for vr in OF_A_MOMENT_INSIDE)


def _tag(text: str) -> str:
    return text[1:9]
