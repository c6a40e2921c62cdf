"""A small HTTP server in a thread, which remembers what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Echo:
    """The server, as a test sees it.

    Attributes:
        url: `http://127.0.0.1:port`.
        port: the port.
        asked: the headers of each request, names in lower case; the values of one that came twice are joined.
    """

    url: str
    port: int
    asked: list[dict[str, str]] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    """`/status/N` answers N, `/redirect` leads to `/status/200`, `/cut` promises more than it
    sends, `/switch` makes the connection another protocol's."""

    protocol_version = "HTTP/1.1"
    echo: Echo

    def do_GET(self) -> None:
        self.echo.asked.append({name.lower(): ", ".join(self.headers.get_all(name, ())) for name in self.headers})
        path = urlsplit(self.path).path
        self.rfile.read(int(self.headers.get("content-length") or 0))
        if path == "/redirect":
            self._answer(302, b"", ("Location", "/status/200"))
        elif path == "/cut":
            self._answer(200, b"half", ("X-Part", "1"), promised=1000)
            self.close_connection = True
        elif path == "/switch":
            self.send_response(101)
            self.send_header("Connection", "Upgrade")
            self.send_header("Upgrade", "websocket")
            self.end_headers()
            self.close_connection = True
        else:
            status = int(path.removeprefix("/status/")) if path.startswith("/status/") else 200
            self._answer(status, b"0123456789" * 10, ("X-Answer", "yes"), ("Set-Cookie", "session=secret"))

    do_POST = do_PUT = do_DELETE = do_BREW = do_GET  # type: ignore[assignment]  # noqa: N815 - names are the protocol's

    def _answer(self, status: int, body: bytes, *headers: tuple[str, str], promised: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if promised is None else promised))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what some tests want."""


@contextmanager
def serve() -> Iterator[Echo]:
    """A server for the length of the block."""
    echo = Echo("", 0)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"echo": echo}))
    echo.port = server.server_address[1]
    echo.url = f"http://127.0.0.1:{echo.port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield echo
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
