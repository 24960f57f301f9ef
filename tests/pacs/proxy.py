"""An HTTP proxy of a test: CONNECT for https, absolute URIs for http (RFC 9110 9.3.6, RFC 9112 3.2.2)."""

from __future__ import annotations

import base64
import select
import socket
import threading
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Proxy:
    """A proxy on a free port; a context manager.

    Attributes:
        resolves: where hosts are that only the proxy can reach, by `host:port`.
        login: what it wants to be shown.
        asked: method and target of each request.
        seen: bytes of requests that went through a tunnel.
    """

    resolves: dict[str, tuple[str, int]] = field(default_factory=dict)
    login: tuple[str, str] | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)
    seen: bytearray = field(default_factory=bytearray)

    def __enter__(self) -> Proxy:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_CONNECT(self) -> None:
                if proxy.lets(self):
                    proxy.tunnel(self)

            def do_GET(self) -> None:
                if proxy.lets(self):
                    proxy.forward(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        self.url = f"http://{self.address}"
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def lets(self, request: BaseHTTPRequestHandler) -> bool:
        self.asked.append((request.command, request.path))
        shown = request.headers.get("Proxy-Authorization", "")
        wanted = "Basic " + base64.b64encode(":".join(self.login or ()).encode()).decode()
        if self.login is None or shown == wanted:
            return True
        request.send_response(407)
        request.send_header("Content-Length", "0")
        request.end_headers()
        return False

    def tunnel(self, request: BaseHTTPRequestHandler) -> None:
        request.close_connection = True
        with socket.create_connection(self._place(request.path), 10) as there:
            request.send_response(200)
            request.end_headers()
            here = request.connection
            while True:
                for ready in select.select([here, there], [], [])[0]:
                    data = ready.recv(65_536)
                    if not data:
                        return
                    if ready is here:
                        self.seen += data
                    (there if ready is here else here).sendall(data)

    def forward(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        connection = HTTPConnection(*self._place(parts.netloc), timeout=10)
        connection.request("GET", f"{parts.path}?{parts.query}", headers=dict(request.headers))
        answer = connection.getresponse()
        body = answer.read()
        request.send_response(answer.status)
        request.send_header("Content-Type", answer.headers.get("Content-Type", "text/plain"))
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)
        connection.close()

    def _place(self, target: str) -> tuple[str, int]:
        host, _, port = target.rpartition(":")
        return self.resolves.get(target) or (host, int(port))
