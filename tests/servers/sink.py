"""A recording OTLP/HTTP receiver inside the test's own process, which answers as badly as a test wishes."""

from __future__ import annotations

import gzip
import socket
import threading
import time
import zlib
from collections import deque
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.servers.base import free_port
from tests.servers.signals import logs_of, points_of, spans_of
from tests.servers.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.servers.signals import LogEntry, MetricPoint, SpanRecord

# By the end of the path, so that a backend's prefix (`/api/42/integration/otlp/v1/traces`) works as well.
_MESSAGES: Mapping[str, Any] = {
    "traces": ExportTraceServiceRequest,
    "metrics": ExportMetricsServiceRequest,
    "logs": ExportLogsServiceRequest,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """How the sink answers one request.

    Attributes:
        status: HTTP status; the data of a request counts as accepted for 2xx only.
        delay: seconds between having read the request and answering it.
        headers: further response headers (`Retry-After`...).
        body: response body; an empty one is a valid OTLP success.
        hang_up: close the connection after reading, without any answer.
    """

    status: int = 200
    delay: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    hang_up: bool = False


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came: `headers` have lower-case names, `body` is decompressed, `message` None if unreadable."""

    path: str
    signal: str  # traces, metrics, logs; empty for another path
    headers: Mapping[str, str]
    body: bytes
    message: Any
    status: int
    wire_size: int  # bytes of the body before decompression
    monotonic: float  # seconds, when the request had been read


class OtlpSink:
    """An OTLP/HTTP server (protobuf, gzip or deflate) on a free port of 127.0.0.1, usable as a context manager.

    Everything received is kept in `requests`. `answer` says how every request is answered from now on;
    `answer_next` queues answers that go first, one a request. `stop` makes the address refuse connections,
    `start` brings it back on the same port with all that was recorded.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.answer = Answer()
        self._next: deque[Answer] = deque()
        self._lock = threading.Lock()
        self._requests: list[Received] = []
        self._server: _HttpServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Base URL, as OTEL_EXPORTER_OTLP_ENDPOINT takes it."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Listen; returns when connections are accepted."""
        self._server = _HttpServer(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="otlp-sink", daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop listening and cut every open connection, as a dead server does."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.cut()
        self._server.server_close()
        self._server = self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def answer_next(self, *answers: Answer) -> None:
        """Queue answers for the next requests; afterwards `answer` holds again."""
        with self._lock:
            self._next.extend(answers)

    def clear(self) -> None:
        """Forget what was received."""
        with self._lock:
            self._requests.clear()

    @property
    def requests(self) -> list[Received]:
        """Every request so far, whatever it was answered with."""
        with self._lock:
            return list(self._requests)

    @property
    def spans(self) -> list[SpanRecord]:
        """Spans of the requests that were answered with 2xx; one that was sent twice is here twice."""
        return [span for message in self._accepted("traces") for span in spans_of(message.resource_spans)]

    @property
    def points(self) -> list[MetricPoint]:
        """Metric points of the requests that were answered with 2xx."""
        return [point for message in self._accepted("metrics") for point in points_of(message.resource_metrics)]

    @property
    def logs(self) -> list[LogEntry]:
        """Log records of the requests that were answered with 2xx."""
        return [entry for message in self._accepted("logs") for entry in logs_of(message.resource_logs)]

    def wait_for(
        self, check: Callable[[Self], Any], *, seconds: float = 10.0, what: str = "the sink to receive"
    ) -> Any:
        """Wait until `check(sink)` is true and return what it gave.

        Raises:
            TimeoutError: `seconds` went by.
        """
        return wait_until(lambda: check(self), seconds=seconds, what=what)

    def wait_for_spans(self, count: int, *, seconds: float = 10.0) -> list[SpanRecord]:
        """Wait until at least `count` spans were accepted and return all of them.

        Raises:
            TimeoutError: `seconds` went by.
        """
        self.wait_for(lambda sink: len(sink.spans) >= count, seconds=seconds, what=f"{count} spans in the sink")
        return self.spans

    def _accepted(self, signal: str) -> list[Any]:
        return [
            request.message
            for request in self.requests
            if request.signal == signal and request.message is not None and 200 <= request.status < 300
        ]

    def _take_answer(self) -> Answer:
        with self._lock:
            return self._next.popleft() if self._next else self.answer

    def _record(self, request: Received) -> None:
        with self._lock:
            self._requests.append(request)

    def _amend(self, old: Received, new: Received) -> None:
        with self._lock:
            self._requests = [new if request is old else request for request in self._requests]


class _HttpServer(ThreadingHTTPServer):
    """The listening socket and its open connections."""

    daemon_threads = False  # server_close then joins the handlers: nothing outlives the test
    request_queue_size = 128

    def __init__(self, sink: OtlpSink) -> None:
        self.sink = sink
        self.stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", sink.port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def cut(self) -> None:
        """Wake delayed answers and shut every open connection."""
        self.stopping.set()
        for connection in list(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:  # the other side was faster
                continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is part of many tests: no traceback."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keep-alive, as real receivers
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """Read and record one export, then answer as the sink is told to."""
        raw = self._read_body()
        read_at = time.monotonic()
        server = self.server
        assert isinstance(server, _HttpServer)
        answer = server.sink._take_answer()
        signal = self.path.rsplit("/v1/", 1)[-1].rstrip("/") if "/v1/" in self.path else ""
        body = _decompress(raw, self.headers.get("Content-Encoding", ""))
        message = _decode(signal, body)
        status = answer.status if message is not None or answer.status >= 300 else 400
        received = Received(
            path=self.path,
            signal=signal if signal in _MESSAGES else "",
            headers={name.lower(): value for name, value in self.headers.items()},
            body=body,
            message=message,
            status=0 if answer.hang_up else status,
            wire_size=len(raw),
            monotonic=read_at,
        )
        server.sink._record(received)
        if answer.delay:
            server.stopping.wait(answer.delay)
        if answer.hang_up:
            self.close_connection = True
            return
        try:
            if server.stopping.is_set():
                raise ConnectionAbortedError
            self._answer(status, answer)
        except OSError:
            # what was never answered counts as not accepted: its sender will send it again
            server.sink._amend(received, replace(received, status=0))
            self.close_connection = True

    def do_GET(self) -> None:
        """A health question."""
        self._answer(200, Answer())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        """No access log on the test's standard error."""

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, status: int, answer: Answer) -> None:
        self.send_response(status)
        headers = {"Content-Type": "application/x-protobuf", "Content-Length": str(len(answer.body)), **answer.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if answer.body:  # without one all has been said: a write of nothing would fail where the sink is being stopped
            self.wfile.write(answer.body)


def _decompress(raw: bytes, encoding: str) -> bytes:
    """Body without its content encoding; as it came when it cannot be read."""
    try:
        if encoding == "gzip":
            return gzip.decompress(raw)
        if encoding == "deflate":
            return zlib.decompress(raw)
    except (OSError, EOFError, zlib.error):
        return raw
    return raw


def _decode(signal: str, body: bytes) -> Any:
    """Protobuf message of a signal's export; None for an unknown signal or an unreadable body."""
    message_type = _MESSAGES.get(signal)
    if message_type is None:
        return None
    message = message_type()
    try:
        message.ParseFromString(body)
    except DecodeError:
        return None
    return message
