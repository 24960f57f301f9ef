"""One file's header as the parser leaves it: what it has in common with its series is held once for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from sluice.headers.values import LATIN, Encodings


class Context(NamedTuple):
    """What an element's reading depends on, besides its bytes."""

    implicit: bool
    encodings: Encodings = LATIN
    signed_pixels: bool | None = None
    lut_entries: int | None = None
    creators: Mapping[int, str] = MappingProxyType({})

    def of_item(self, implicit: bool) -> Context:
        """The context in which an item of a sequence begins."""
        return Context(implicit, self.encodings, self.signed_pixels)


# An element of the data set's top level: tag; text `"GGGGEEEE":{…}`, empty for a group length, which is no attribute
# (PS3.18 F.2.2); where it starts and stops in the file, bytes; the context in which it was read. A tuple, not a
# class: there are millions of them.
Item: TypeAlias = tuple[int, str, int, int, Context]


@dataclass
class Hole:
    """A value that is neither kept nor shown: pixels, and what is too long.

    Attributes:
        offset, length: where it stands in the file, bytes.
        is_fragments: it is a chain of fragments (PS3.5 A.4), the delimiter behind it not counted.
    """

    offset: int
    length: int
    is_fragments: bool = False


class Elements:
    """The beginning of a header that several files share: its top-level elements in the order of the file.

    Attributes:
        texts: text of each element; empty for a group length.
        place: where in `texts` a tag stands; of a tag that stands there twice the last one counts.
        derived: what whoever reads headers derived from these elements, kept with them.
    """

    def __init__(self, items: list[Item]) -> None:
        self.tags = [item[0] for item in items]
        self.texts = [item[1] for item in items]
        self.place = {item[0]: index for index, item in enumerate(items) if item[1]}
        self.derived: Any = None


NO_ELEMENTS = Elements([])


@dataclass
class Header:
    """A header.

    Attributes:
        transfer_syntax_uid: from the file meta information.
        size: bytes of the file; of a deflated one, with its data set inflated.
        first: elements that it begins with, those of an earlier file.
        changes: the texts in which this file differs from them, by their place.
        tail: texts of the elements that follow, by tag.
        kept: the bytes of the file outside of `holes`.
        holes: what is left out of `kept`, in the order of the file.
        is_inflated: `kept` is not what the file holds, but what its data set inflates to.
        pixel_at: where the value of (7FE0,0010) stands in the file, bytes.
        pixel_bytes: its length; None without pixel data.
        pixel_pieces: some of its bytes, from places that its length determines.
        lenient: pydicom had to read it.
    """

    transfer_syntax_uid: str
    size: int = 0
    first: Elements = NO_ELEMENTS
    changes: dict[int, str] = field(default_factory=dict)
    tail: dict[int, str] = field(default_factory=dict)
    kept: bytes = b""
    holes: list[Hole] = field(default_factory=list)
    is_inflated: bool = False
    pixel_at: int = 0
    pixel_bytes: int | None = None
    pixel_pieces: bytes = b""
    lenient: bool = False

    def text(self, tag: int) -> str | None:
        """`"GGGGEEEE":{…}` of one element of the top level."""
        found = self.tail.get(tag)
        if found is not None:
            return found
        place = self.first.place.get(tag)
        if place is None:
            return None
        return self.changes.get(place) or self.first.texts[place]

    def texts(self) -> Iterator[tuple[int, str]]:
        """Tag and text of every element of the top level."""
        for tag, place in self.first.place.items():
            if tag not in self.tail:
                yield tag, self.changes.get(place) or self.first.texts[place]
        yield from self.tail.items()

    @property
    def json(self) -> str:
        """DICOM JSON of the data set, file meta information and group lengths left out."""
        return "{" + ",".join([text for _, text in self.texts()]) + "}"
