"""A recording Sentry inside the test's own process: envelopes of sentry-sdk and spans by OTLP, on loopback."""

from __future__ import annotations

import gzip
import json
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.servers.base import free_port
from tests.servers.signals import SpanRecord, spans_of
from tests.servers.waiting import wait_until

KEY = "0123456789abcdef0123456789abcdef"
PROJECT = "42"


@dataclass(frozen=True, slots=True)
class Post:
    """One request: path, headers with names in lower case, the unpacked body, and its length on the wire."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int


@dataclass(frozen=True, slots=True)
class Item:
    """One item of an envelope: its type, its own headers, the envelope's, and its payload as JSON."""

    type: str
    headers: Mapping[str, Any]
    envelope: Mapping[str, Any]
    payload: Any


@dataclass
class SentryAnswer:
    """How requests are answered from now on."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class SentryServer:
    """A Sentry at 127.0.0.1 that keeps what it gets; usable as a context manager.

    `otlp` and `envelopes` say how the two kinds of requests are answered.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.otlp = SentryAnswer()
        self.envelopes = SentryAnswer()
        self._posts: list[Post] = []
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None

    @property
    def dsn(self) -> str:
        """A DSN that leads here."""
        return f"http://{KEY}@127.0.0.1:{self.port}/{PROJECT}"

    def start(self) -> Self:
        """Listen."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer._take(self)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def stop(self) -> None:
        """Refuse connections from now on; what was recorded stays."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def posts(self) -> list[Post]:
        """All requests so far."""
        with self._lock:
            return list(self._posts)

    @property
    def items(self) -> list[Item]:
        """Items of all envelopes that were accepted."""
        return [item for post in self.posts if "/envelope/" in post.path and post.status < 300 for item in _items(post)]

    def of(self, kind: str) -> list[Item]:
        """Items of a type: `event`, `transaction`, `log`, `profile_chunk`."""
        return [item for item in self.items if item.type == kind]

    @property
    def events(self) -> list[dict[str, Any]]:
        """Errors and messages."""
        return [item.payload for item in self.of("event")]

    @property
    def logs(self) -> list[dict[str, Any]]:
        """Sentry logs, one by one, their attributes by name."""
        found = [log for item in self.of("log") for log in item.payload["items"]]
        return [
            {**log, "attributes": {name: value["value"] for name, value in log["attributes"].items()}} for log in found
        ]

    @property
    def spans(self) -> list[SpanRecord]:
        """Spans that came by OTLP and were accepted."""
        found: list[SpanRecord] = []
        for post in self.posts:
            if "/otlp/" in post.path and post.status < 300:
                message = ExportTraceServiceRequest()
                message.ParseFromString(post.body)
                found += spans_of(message.resource_spans)
        return found

    def wait_for(self, condition: Any, *, seconds: float = 15.0, what: str = "Sentry's data") -> None:
        """Wait until `condition(self)` is true."""
        wait_until(lambda: condition(self), seconds=seconds, what=what)

    def _take(self, request: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = request.rfile.read(int(headers.get("content-length", 0)))
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        elif headers.get("content-encoding") == "deflate":
            body = zlib.decompress(body)
        answer = self.otlp if "/otlp/" in request.path else self.envelopes
        with self._lock:
            self._posts.append(Post(request.path, headers, body, answer.status))
        request.send_response(answer.status)
        for name, value in {"Content-Length": "2", **answer.headers}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(b"{}")


def _items(post: Post) -> list[Item]:
    """The items of one envelope (develop.sentry.dev, "Envelopes"): a line of headers, then headers and payload each."""
    first, _, rest = post.body.partition(b"\n")
    envelope = json.loads(first)
    found = []
    while rest.strip():
        line, _, rest = rest.partition(b"\n")
        headers = json.loads(line)
        length = headers.get("length")
        if length is None:
            payload, _, rest = rest.partition(b"\n")
        else:
            payload, rest = rest[:length], rest[length:].lstrip(b"\n")
        found.append(Item(headers["type"], headers, envelope, _json(payload)))
    return found


def _json(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except ValueError:
        return payload
