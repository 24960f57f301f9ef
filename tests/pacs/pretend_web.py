"""A DICOMweb service small enough to read: QIDO-RS and WADO-RS over datasets in memory, with faults as a test wants."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from sluice.pacs.node import Credentials, PacsNode
from tests.pacs.pretend import matches

BOUNDARY = "--of-parts--"


@dataclass
class PretendWeb:
    """A service below `/dicom-web`; a context manager.

    Attributes:
        holds: its instances.
        limit: most matches of one QIDO-RS answer.
        login, token: what it wants to be shown.
        status: answered to every WADO-RS request, with `headers`.
        cut_after: bytes of a WADO-RS body after which the connection is closed, once, without saying its length.
        stall_s: how long it waits in the middle of a body.
        halfway: called there.
        html: answers with a login page.
        leave_out: SOP Instance UIDs that a study or series comes without.
        asked: path and Accept of each request.
    """

    holds: list[Dataset]
    limit: int | None = None
    login: tuple[str, str] | None = None
    token: str | None = None
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    stall_s: float = 0.0
    halfway: Callable[[], None] = lambda: None
    html: bool = False
    leave_out: set[str] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def __enter__(self) -> PretendWeb:
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                service.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/dicom-web"
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def node(self, **changes: Any) -> PacsNode:
        """How to reach it."""
        values: dict[str, Any] = {
            "name": "web", "host": "127.0.0.1", "port": 104, "ae_title": "WEB", "calling_ae_title": "SLUICE_TEST",
            "move_destination": "SLUICE", "timeout_s": 5, "retrieve_by": "DICOMweb", "dicomweb_url": self.url,
        }  # fmt: skip
        return PacsNode(**(values | changes))

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append((request.path, request.headers.get("Accept", "")))
        parts = urlsplit(request.path)
        names = parts.path.strip("/").split("/")
        if not self._knows(request.headers.get("Authorization", "")):
            return _send(request, 401, b"", "text/plain")
        if self.html:
            return _send(request, 200, b"<html>Log in</html>", "text/html")
        if names[0] != "dicom-web" or len(names) < 2:
            return _send(request, 404, b"", "text/plain")
        if "json" in request.headers.get("Accept", ""):
            return self._search(request, names[1:], parse_qs(parts.query))
        if self.status is not None:
            return _send(request, self.status, b"", "text/plain", self.headers)
        return self._objects(request, names[1:])

    def _knows(self, shown: str) -> bool:
        if self.token is not None:
            return shown == f"Bearer {self.token}"
        if self.login is not None:
            return shown == "Basic " + base64.b64encode(":".join(self.login).encode()).decode()
        return True

    def _search(self, request: BaseHTTPRequestHandler, names: list[str], query: dict[str, list[str]]) -> None:
        level = {1: "StudyInstanceUID", 3: "SeriesInstanceUID", 5: "SOPInstanceUID"}[len(names)]
        asked = _under(names)
        for keyword, values in query.items():
            if keyword not in ("limit", "offset", "includefield"):
                setattr(asked, keyword, values[0].split(",") if "UID" in keyword else values[0])
        groups: dict[str, Dataset] = {}
        for instance in self.holds:
            if matches(asked, instance):
                groups.setdefault(str(instance[level].value), instance)
        offset = int(query.get("offset", ["0"])[0])
        limit = min(int(query.get("limit", ["100"])[0]), self.limit or 10_000)
        answers = []
        for instance in list(groups.values())[offset : offset + limit]:
            answer = Dataset()
            for keyword in {level, *query.get("includefield", [])}:
                if keyword in instance:
                    answer[keyword] = instance[keyword]
            answers.append(answer.to_json_dict())
        _send(
            request, 200 if answers else 204, json.dumps(answers).encode() if answers else b"", "application/dicom+json"
        )

    def _objects(self, request: BaseHTTPRequestHandler, names: list[str]) -> None:
        asked = _under([*names, "-"])
        found = [one for one in self.holds if matches(asked, one)]
        if len(names) < 6:
            found = [one for one in found if one.SOPInstanceUID not in self.leave_out]
        if not found:
            return _send(request, 404, b"", "text/plain")
        body = b"\r\n".join(
            b"--%s\r\nContent-Type: application/dicom\r\n\r\n%s" % (BOUNDARY.encode(), as_file(one)) for one in found
        )
        body += b"\r\n--%s--\r\n" % BOUNDARY.encode()
        request.send_response(200)
        request.send_header("Content-Type", f'multipart/related; type="application/dicom"; boundary="{BOUNDARY}"')
        request.send_header("Connection", "close")  # no length: the body ends where the connection does
        request.end_headers()
        cut, self.cut_after = self.cut_after, None
        request.wfile.write(body[: len(body) // 2 if cut is None else cut // 2])
        request.wfile.flush()
        time.sleep(self.stall_s)
        self.halfway()
        with contextlib.suppress(OSError):  # whoever asked may have had enough
            request.wfile.write(body[len(body) // 2 :] if cut is None else body[cut // 2 : cut])
        request.close_connection = True
        return None


def as_file(instance: Dataset) -> bytes:
    """A Part 10 file."""
    instance.file_meta.MediaStorageSOPClassUID = instance.SOPClassUID
    instance.file_meta.MediaStorageSOPInstanceUID = instance.SOPInstanceUID
    instance.file_meta.ImplementationClassUID = generate_uid("1.2.826.0.1.3680043.10.999.", entropy_srcs=["web"])
    buffer = io.BytesIO()
    dcmwrite(buffer, instance, enforce_file_format=True)
    return buffer.getvalue()


def credentials(web: PretendWeb) -> Credentials:
    """What the service wants to see."""
    login, password = web.login or ("", "")
    return Credentials(login, password, web.token or "")


def _under(names: list[str]) -> Dataset:
    asked = Dataset()
    for keyword, uid in zip(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"), names[1::2], strict=False):
        if uid != "-":
            setattr(asked, keyword, uid)
    return asked


def _send(
    request: BaseHTTPRequestHandler, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None
) -> None:
    request.send_response(status)
    for name, value in (headers or {}).items():
        request.send_header(name, value)
    request.send_header("Content-Type", kind)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)
