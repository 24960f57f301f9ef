"""An S3 server that can be made to fail: a proxy before the real one, and a reader that believes no manifest."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sluice.objects import ObjectStore, ObjectStoreError
from sluice.stack.s3 import EmbeddedS3

ERROR = "<?xml version='1.0'?><Error><Code>{}</Code><Message>{}</Message></Error>"


@dataclass
class Fault:
    """What the proxy does: `away` closes the connection, `expired` and `full` answer so, after `after` more writes."""

    kind: str = ""
    after: int = 0
    writes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self, method: str) -> str:
        """What happens to this request."""
        with self.lock:
            if method == "PUT":
                self.writes += 1
                if self.after:
                    self.after -= 1
                    return ""
            return "" if self.after else self.kind


@contextmanager
def proxy(server: EmbeddedS3, fault: Fault) -> Iterator[str]:
    """Endpoint of a proxy before `server`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            happens = fault.now(self.command)
            if happens == "away":
                self.close_connection = True
                self.connection.close()
                return
            if happens:
                code, said = {"expired": (403, "ExpiredToken"), "full": (507, "InsufficientStorage")}[happens]
                self.answer(code, ERROR.format(said, happens).encode(), {})
                return
            behind = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            behind.request(self.command, self.path, body, dict(self.headers))
            got = behind.getresponse()
            self.answer(got.status, got.read(), dict(got.getheaders()))
            behind.close()

        def answer(self, code: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(code)
            length = headers.get("Content-Length", str(len(body))) if self.command == "HEAD" else str(len(body))
            for name, value in headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = pass_on  # noqa: N815

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}"
        finally:
            listening.shutdown()


class Reader:
    """Somebody who looks all the time whether there is a release, and reads every byte of one that there is."""

    def __init__(self, bucket: ObjectStore, project: str) -> None:
        self.bucket, self.project = bucket, project
        self.lies: list[str] = []
        self.looks = 0
        self.seen: dict[str, str] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(60)

    def _read(self) -> None:
        while not self._end.is_set():
            self.look()

    def look(self) -> None:
        """Check each manifest that can be seen now."""
        keys = [entry.key for entry in self.bucket.list(f"{self.project}/")]
        self.looks += 1
        for key in keys:
            if key.endswith("/manifest.json"):
                body = self.bucket.get(key)
                digest = hashlib.sha256(body).hexdigest()
                if self.seen.setdefault(key, digest) != digest:
                    self.lies.append(f"{key} changed")
                self.lies += self._lies(key.removesuffix("manifest.json"), json.loads(body))

    def _lies(self, prefix: str, manifest: dict[str, dict[str, str]]) -> list[str]:
        try:
            sums = self.bucket.get(prefix + manifest["sums"]["name"])
            self.bucket.get(prefix + "manifest.json.sig")
            if hashlib.sha256(sums).hexdigest() != manifest["sums"]["sha256"]:
                return [f"{prefix}SHA256SUMS is another one"]
            lines = (line.split("  ", 1) for line in sums.decode().splitlines())
            return [path for digest, path in lines if self.bucket.digest(f"{self.project}/{path}") != digest]
        except ObjectStoreError as error:
            return [f"{prefix}: {error}"]
