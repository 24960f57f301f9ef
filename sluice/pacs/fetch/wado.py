"""WADO-RS: studies, series and instances as the service stores them, each part into the intake as it comes.

PS3.18 10.4. `transfer-syntax=*` asks for no transcoding; the file meta information of each part says in which syntax
it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from urllib.parse import quote, urlsplit

import requests

from sluice.archive.elements import Unscannable, scan
from sluice.archive.intake import SUCCESS
from sluice.archive.storing import Storing, offering, reason_of
from sluice.pacs.errors import PacsBusy, PacsError, PacsRefused, PacsStatusError, PacsUnreachable
from sluice.pacs.fetch.dicomweb import DicomwebAssociation, http_error
from sluice.pacs.fetch.multipart import BrokenMultipart, boundary_of, parts_of
from sluice.pacs.fetch.wanted import Request
from sluice.pacs.governor.stops import GovernorStop
from sluice.pacs.interruption import Interruption
from sluice.pacs.outcomes import Moved

ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
PIECE_BYTES = 1 << 18
MOST_META_BYTES = 1 << 16
META_AT = 132  # after preamble and prefix (PS3.10 7.1)
GROUP_LENGTH, SOP_CLASS, SOP_INSTANCE, TRANSFER_SYNTAX = 0x00020000, 0x00020002, 0x00020003, 0x00020010


class _Overdue(Exception):  # noqa: N818
    """A part goes on for so long after the request was interrupted that we do not wait for its end."""


class Downloader:
    """Asks a DICOMweb service for instances; what `sluice.pacs.fetch.ways` calls an asker."""

    def __init__(self, web: DicomwebAssociation, storing: Storing) -> None:
        self.web = web
        self._storing = storing
        self._offered = offering(web.node, urlsplit(web.url).hostname or web.node.host)
        self._is_service: bool | None = None

    @property
    def is_open(self) -> bool:
        """Whether more can be asked; HTTP opens a new connection by itself."""
        return self.web.is_open

    def takes(self, request: Request) -> bool:
        """Any request."""
        return True

    def ask(self, request: Request, progress: Callable[[], object]) -> Moved:
        """GET a study, a series, or one instance after the other.

        Raises:
            PacsBusy, PacsRefused, PacsUnreachable, PacsStatusError: further requests would fare no better.
            GovernorStop: nothing may be asked now, and nothing was.
        """
        moved = Moved()
        for number, (path, uids) in enumerate(_resources(request)):
            try:
                self._governed(path, uids, moved)
            except GovernorStop:
                if not number:
                    raise
                moved.interrupted = True  # between two instances; what came of the first ones is told
            if moved.error is not None or moved.interrupted:
                break
        if moved.completed and moved.error is None:
            moved.status = "200"  # of several instances some came; the others have a status of their own
        return moved

    def held(self, study: str, series: str, uids: Sequence[str]) -> set[str] | None:
        """Not asked: what an answer left out is asked for by itself, and then there is a 404 or there is not."""
        return None

    def _governed(self, path: str, uids: Sequence[str], moved: Moved) -> None:
        """One GET past the governor, which may have it end between two parts of the answer."""
        with self.web.governed("WADO-RS") as asked:
            interruption = Interruption(asked.has_to_end)
            size = self._fetch(path, uids, moved, interruption)
            interruption.settle(moved)
            if moved.error is not None:
                asked.broke(moved.error)
            elif moved.interrupted:
                asked.answered(None, size)  # what we cut short says nothing of the service
            else:
                asked.answered(moved.status, size, moved.completed)

    def _fetch(self, path: str, uids: Sequence[str], moved: Moved, interruption: Interruption) -> int:
        """One GET; what came of it goes into `moved`. Returns the bytes that came."""
        try:
            response = self.web.get(path, ACCEPT)
            with response:
                moved.status = str(response.status_code)
                if moved.status == "404" and self._offers_studies():
                    moved.instances |= dict.fromkeys(uids, ("no-longer-held", "404"))
                elif response.status_code != 200:
                    self._failed(response, uids, moved)
                else:
                    return self._take(response, moved, interruption)
        except (PacsBusy, PacsRefused, PacsUnreachable):
            raise
        except PacsError as error:
            if error.permanent:
                raise
            moved.error = error
        return 0

    def _failed(self, response: requests.Response, uids: Sequence[str], moved: Moved) -> None:
        error = http_error(self.web.node, "WADO-RS", response)
        if isinstance(error, PacsBusy) or error.permanent or response.status_code == 404:
            error.permanent = error.permanent or response.status_code == 404
            raise error
        moved.instances |= dict.fromkeys(uids, ("refused", str(response.status_code)))

    def _offers_studies(self) -> bool:
        """Whether a 404 speaks of the object: a base URL that is wrong answers everything with it."""
        if self._is_service is None:
            response = self.web.get("/studies?limit=1", "application/dicom+json")
            with response:
                self._is_service = response.status_code in (200, 204)
        return self._is_service

    def _take(self, response: requests.Response, moved: Moved, interruption: Interruption) -> int:
        """The parts of an answer, up to the one in which it is interrupted; the connection is closed over the rest."""
        pieces = self._pieces(response, interruption)
        size = 0
        media_type, boundary = boundary_of(response.headers.get("Content-Type", ""))
        if media_type == "multipart/related" and boundary:
            parts = parts_of(pieces, boundary)
        elif media_type == "application/dicom":
            parts = iter([pieces])
        else:
            raise _no_objects(self.web, media_type)
        try:
            for part in parts:
                size += self._take_part(part, moved)
                if interruption.begun or interruption.begins():
                    break
        except _Overdue:
            pass  # the part is asked for again
        except BrokenMultipart:
            raise self.web.broken_off("WADO-RS") from None
        return size

    def _pieces(self, response: requests.Response, interruption: Interruption) -> Iterator[bytes]:
        with self.web.errors("WADO-RS"):
            for piece in response.iter_content(PIECE_BYTES):
                yield piece
                if not interruption.begins() and interruption.left_s <= 0:
                    raise _Overdue

    def _take_part(self, part: Iterator[bytes], moved: Moved) -> int:
        """One Part 10 file into the intake; its bytes."""
        head = bytearray()
        meta: tuple[dict[int, str], int] | None = None
        for piece in part:
            head += piece
            meta = _file_meta(head)
            if meta is not None or len(head) > MOST_META_BYTES:
                break
        uids, start = meta or ({}, 0)
        sop_class, sop_instance = uids.get(SOP_CLASS, ""), uids.get(SOP_INSTANCE, "")
        taking = self._storing.begin(self._offered(sop_class, sop_instance, sop_class, uids.get(TRANSFER_SYNTAX, "")))
        size = 0
        try:
            for piece in chain((bytes(head[start:]),), part):
                size += len(piece)
                taking.write(piece)
        except BaseException:
            taking.abandon()
            raise
        status, _ = taking.finish()
        if status == SUCCESS:
            moved.completed += 1
        else:
            moved.failed += 1
            moved.instances[sop_instance] = reason_of(status), f"{status:04X}"
        return size


def _resources(request: Request) -> Iterator[tuple[str, Sequence[str]]]:
    """Path below the base URL and the instances that it should bring."""
    path = f"/studies/{quote(request.study, safe='')}"
    if request.series is not None:
        path += f"/series/{quote(request.series, safe='')}"
    if request.level != "IMAGE":
        yield path, request.wanted
        return
    for uid in request.wanted:
        yield f"{path}/instances/{quote(uid, safe='')}", (uid,)


def _file_meta(head: bytes | bytearray) -> tuple[dict[int, str], int] | None:
    """UIDs of the file meta information and where the dataset begins; None as long as it is not whole, or is none."""
    if len(head) < META_AT + 12 or head[META_AT - 4 : META_AT] != b"DICM":
        return None
    length = int.from_bytes(head[META_AT + 8 : META_AT + 12], "little")
    end = META_AT + 12 + length
    if head[META_AT : META_AT + 4] != b"\x02\x00\x00\x00" or length > MOST_META_BYTES or len(head) < end:
        return None
    try:
        found = scan(bytes(head[:end]), META_AT, False, False, (SOP_CLASS, SOP_INSTANCE, TRANSFER_SYNTAX))
    except Unscannable:
        return None
    return {tag: value.decode("latin-1").strip(" \x00") for tag, value in found.values.items()}, end


def _no_objects(web: DicomwebAssociation, media_type: str) -> PacsStatusError:
    error = PacsStatusError(
        f"The DICOMweb service of PACS {web.node.name} answered WADO-RS with {media_type}, not with DICOM objects. "
        "Is dicomweb_url the base URL of the service, and not that of a login page?",
        "200",
    )
    error.permanent = True
    return error
