"""The ways to have an instance fetched: C-MOVE to our receiver, C-GET or WADO-RS into this process.

Each way is opened for the requests that are left and asked one request after the other over one association.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sluice.database import Database
from sluice.pacs.answers import text
from sluice.pacs.association import FIND, GET, MOVE, PacsAssociation, associate, identifier_of, status_error
from sluice.pacs.errors import PacsError, ServiceNotOffered
from sluice.pacs.fetch.get import MOST_CONTEXTS, SYNTAXES, Fetching, class_uids
from sluice.pacs.fetch.learned import MOVES, learned
from sluice.pacs.fetch.wanted import Request
from sluice.pacs.node import PacsNode
from sluice.pacs.outcomes import Moved

if TYPE_CHECKING:
    from sluice.archive.storing import Storing
    from sluice.pacs.governor import Governor

CLASSES_AT_EASE = MOST_CONTEXTS // len(SYNTAXES)  # so many have a context for each syntax
KINDS = {"C-MOVE": "C-MOVE", "C-GET": "C-GET", "DICOMweb": "WADO-RS"}  # as `attempt.kind` has them
MOVE_CLOSED = ("A801", "0122", "0124")  # destination unknown, class not supported, not authorized: C-GET may still work


class MustCarry(PacsError):  # noqa: N818
    """The source hands out instances only to who asks (C-GET, DICOMweb), and this process takes none."""

    reason_code = "not-asked"


class MoveClosed(Exception):  # noqa: N818
    """C-MOVE is not for us; another way may be.

    Attributes:
        error: what the source said.
        offers_get: whether it accepted a context for C-GET.
        certain: whether it said so; else it only failed in a way that has no other reason (C000 of Orthanc).
    """

    def __init__(self, error: PacsError, offers_get: bool, certain: bool = True) -> None:
        super().__init__(str(error))
        self.error = error
        self.offers_get = offers_get
        self.certain = certain


@dataclass(frozen=True)
class Source:
    """A PACS that is asked for instances.

    Attributes:
        node: where it is.
        governor: paces what it is asked; None asks at once.
    """

    node: PacsNode
    governor: Governor | None = None


class Asker(Protocol):
    """An open way to one source."""

    @property
    def is_open(self) -> bool:
        """Whether more can be asked by it."""

    def takes(self, request: Request) -> bool:
        """Whether it was opened for requests like this one; the first of those it was opened for it takes."""

    def ask(self, request: Request, progress: Callable[[], object]) -> Moved:
        """Ask for what a request wants; `progress` changes while it arrives by another way than through us."""

    def held(self, study: str, series: str, uids: Sequence[str]) -> set[str] | None:
        """Those instances of a series that the source still names; None where it does not say."""


@contextmanager
def open_way(way: str, source: Source, requests: Sequence[Request], storing: Storing | None) -> Iterator[Asker]:
    """Open a way to a source for requests, of which the first at least can be asked then.

    Raises:
        MoveClosed: the source does not offer C-MOVE; when asked, also that it does not know our destination.
        ServiceNotOffered: it does not offer C-GET.
        MustCarry: it needs `storing`.
        PacsError: no association.
    """
    if way == "C-MOVE":
        others = GET if "C-GET" in source.node.ways else ()
        with associate(source.node, MOVE + FIND + others, governor=source.governor) as association:
            mover = Mover(association)
            if not association.offers(MOVE[0]):
                raise MoveClosed(not_offered(source.node, "C-MOVE"), mover.offers_get)
            yield mover
        return
    if storing is None:
        raise MustCarry(
            f"The PACS {source.node.name} hands out instances only by {way}, which carries them through the task "
            "that asks. This process only waits; ask from a worker."
        )
    if way == "DICOMweb":
        from sluice.pacs.fetch.dicomweb import DicomwebAssociation
        from sluice.pacs.fetch.wado import Downloader

        with DicomwebAssociation.open(source.node, source.governor) as web:
            yield Downloader(web, storing)
        return
    fetching = Fetching(storing, source.node, _classes(requests))
    try:
        with associate(source.node, GET + FIND, fetching=fetching, governor=source.governor) as association:
            if not association.offers(GET[0]):
                raise not_offered(source.node, "C-GET")
            yield _Getter(association, fetching)
    finally:
        fetching.end()


def not_offered(node: PacsNode, service: str) -> ServiceNotOffered:
    """The error for a retrieve model that was not accepted."""
    return ServiceNotOffered(
        f"The PACS {node.address} does not offer {service} in Study Root. "
        "Ask its administrator to allow it to our AE title."
    )


def _classes(requests: Sequence[Request]) -> set[str]:
    """SOP classes of the first request, and of those after it as long as each may have a context for each syntax."""
    classes = class_uids(requests[0].classes)
    for request in requests[1:]:
        more = classes | class_uids(request.classes)
        if len(more) > CLASSES_AT_EASE:
            break
        classes = more
    return set(sorted(classes)[:MOST_CONTEXTS])


class _OverAssociation:
    def __init__(self, association: PacsAssociation) -> None:
        self.association = association

    @property
    def is_open(self) -> bool:
        return self.association.is_open

    def takes(self, request: Request) -> bool:
        return True

    def held(self, study: str, series: str, uids: Sequence[str]) -> set[str] | None:
        """C-FIND at IMAGE level. An instance that is not among the answers is asked for by itself: they may be cut
        off."""
        keys: dict[str, str | list[str]] = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
        named = self._named(keys)
        if not named:
            return named
        for uid in uids:
            if uid not in named and (again := self._named(keys | {"SOPInstanceUID": uid})) is not None:
                named |= again
        return named & set(uids)

    def _named(self, keys: dict[str, str | list[str]]) -> set[str] | None:
        if not self.is_open or not self.association.offers(FIND[0]):
            return None
        found = self.association.find(identifier_of("IMAGE", keys, ("SOPInstanceUID",)))
        if found.status != "0000" or found.unreadable:
            return None
        return {text(answer, "SOPInstanceUID") for answer in found.answers}


class Mover(_OverAssociation):
    """Asks by C-MOVE."""

    @property
    def offers_get(self) -> bool:
        """Whether C-GET might be asked instead."""
        return self.association.offers(GET[0])

    def doubt(self, study: str, series: str, uid: str, status: str) -> None:
        """Take a failure for a closed door, unless the instance is gone: some PACS fail so where they do not know the
        destination.

        Raises:
            MoveClosed: there is C-GET to try.
        """
        if self.offers_get and self.held(study, series, [uid]):
            raise MoveClosed(status_error(self.association.node, "C-MOVE", status), True, certain=False)

    def ask(self, request: Request, progress: Callable[[], object]) -> Moved:
        """One C-MOVE.

        Raises:
            MoveClosed: it is not for us, as the PACS says.
        """
        moved = self.association.move(identifier_of(request.level, request.keys()), progress)
        if moved.status in MOVE_CLOSED:
            raise MoveClosed(status_error(self.association.node, "C-MOVE", moved.status), self.offers_get)
        return moved

    def ask_together(self, study_uids: Sequence[str], progress: Callable[[], object]) -> Moved:
        """One C-MOVE for several whole studies."""
        keys: dict[str, str | list[str]] = {"StudyInstanceUID": list(study_uids)}
        return self.association.move(identifier_of("STUDY", keys), progress)


class _Getter(_OverAssociation):
    def __init__(self, association: PacsAssociation, fetching: Fetching) -> None:
        super().__init__(association)
        self.fetching = fetching

    def takes(self, request: Request) -> bool:
        return class_uids(request.classes) <= self.fetching.classes

    def ask(self, request: Request, progress: Callable[[], object]) -> Moved:
        return self.association.get(identifier_of(request.level, request.keys()), self.fetching)


def carries(database: Database, nodes: Iterable[PacsNode]) -> bool:
    """Whether instances of some of these will pass through the process that asks, as far as is known."""
    for node in nodes:
        first, *others = node.ways
        if first != "C-MOVE" or (others and learned(database, node.name, MOVES) is False):
            return True
    return False
