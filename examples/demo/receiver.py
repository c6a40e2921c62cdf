"""An OTLP/HTTP receiver that keeps the spans of the last traces: the smallest thing a service can export to."""

from __future__ import annotations

import gzip
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from .records import SpanRecord, decode

_LARGEST_BODY = 16_000_000
_MOST_TRACES = 2_000

Trace = list[SpanRecord]


class Traces:
    """Spans by trace, the oldest trace forgotten first; may be used from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._traces: OrderedDict[int, tuple[Trace, float]] = OrderedDict()

    def add(self, spans: list[SpanRecord]) -> None:
        """Take in what arrived."""
        with self._changed:
            for span in spans:
                trace, _ = self._traces.setdefault(span.context.trace_id, ([], 0.0))
                trace.append(span)
                self._traces[span.context.trace_id] = (trace, time.monotonic())
            while len(self._traces) > _MOST_TRACES:
                self._traces.popitem(last=False)
            self._changed.notify_all()

    def wait(self, wanted: Callable[[Trace], bool], *, quiet: float, seconds: float) -> Trace | None:
        """The first trace that is `wanted` and got no span for `quiet` seconds; None when there is none in time."""
        end = time.monotonic() + seconds
        with self._changed:
            while (now := time.monotonic()) < end:
                for trace, changed in self._traces.values():
                    if now - changed >= quiet and wanted(trace):
                        return list(trace)
                self._changed.wait(0.05)
        return None

    def take(self, *, quiet: float) -> list[Trace]:
        """Remove and give the traces that got no span for `quiet` seconds."""
        with self._changed:
            now = time.monotonic()
            settled = [key for key, (_, changed) in self._traces.items() if now - changed >= quiet]
            return [self._traces.pop(key)[0] for key in settled]


class _Handler(BaseHTTPRequestHandler):
    traces: Traces  # given by the subclass that `receiving` makes
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """One export request; OTLP specification, "OTLP/HTTP Response"."""
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            length = -1
        if not 0 <= length <= _LARGEST_BODY:
            self.close_connection = True
            self._answer(413 if length > 0 else 411)
            return
        body = self.rfile.read(length)
        if self.path != "/v1/traces":
            self._answer(404)
        elif self.headers.get_content_type() != "application/x-protobuf":
            self._answer(415)
        else:
            self._answer(self._take(body))

    def _take(self, body: bytes) -> int:
        try:
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            self.traces.add(decode(body))
        except (DecodeError, OSError, EOFError, zlib.error, ValueError):
            return 400
        return 200

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")  # an empty ExportTraceServiceResponse
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name http.server gives it
        """Nothing: the drawings are the log."""


@contextmanager
def receiving(traces: Traces) -> Iterator[str]:
    """Receive on a free port for as long as the block runs; gives the endpoint."""
    handler = type("Handler", (_Handler,), {"traces": traces})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
