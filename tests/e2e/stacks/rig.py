"""A stack's service under the launcher, everything it talks to stood in for, and all that came out of it."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from tests.e2e.service import Answer, Service
from tests.programs import OURS
from tests.servers.exposition import Sample, parse_exposition
from tests.servers.sentry import SentryServer
from tests.servers.signals import SpanRecord
from tests.servers.sink import OtlpSink
from tests.servers.waiting import wait_until

CALLER = {"trace": "0af7651916cd43dd8448eb211c80319c", "request": "req-7f3a"}
"""Ids that a caller of the services sends."""
HEADERS = {"traceparent": f"00-{CALLER['trace']}-b7ad6b7169203331-01", "X-Request-ID": CALLER["request"]}


@dataclass
class Call:
    """One request that a service made to something it depends on."""

    method: str
    path: str
    headers: Mapping[str, str]


class Outside:
    """Every HTTP API that the services call; fails for whoever asks for something `broken`."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
                outer.calls.append(Call(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
                status, answer = _answer_to(self.path, body, upgrade="upgrade" in self.headers)
                self.send_response(status)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer)

            do_GET = do_HEAD = do_POST = _answer  # noqa: N815 - the base class's names

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _answer_to(path: str, body: str, *, upgrade: bool) -> tuple[int, bytes]:
    if upgrade:
        return 101, b""
    if "broken" in path or "broken" in body:
        return 500, b"{}"
    known = {
        "/v1/messages": {"score": 85.5, "text": "eat more", "usage": {"input_tokens": 500, "output_tokens": 300}},
        "/v1/transcribe": {"text": "hello"},
        "/v1/embeddings": {"vectors": 2},
    }
    report = {"rows": 7, "used": 950, "limit": 1000}
    return 200, json.dumps(report if "runReport" in path else known.get(path, {})).encode()


@dataclass
class Evidence:
    """What came out of a service.

    Attributes:
        service: still running.
        sentry: what reached Sentry.
        spans: what reached the collector.
        outside: whom it called.
        answers: by the name that the driver gave.
    """

    service: Service
    sentry: SentryServer
    sink: OtlpSink
    outside: Outside
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: int = 0

    def served(self) -> int:
        """Requests whose spans have all arrived: a server span is the last of its request."""
        return sum(span.kind == "SERVER" for span in self.sink.spans)

    @cached_property
    def spans(self) -> list[SpanRecord]:
        """Spans that the collector got; asked for when all have arrived."""
        return self.sink.spans

    def ask(self, name: str, path: str, method: str = "GET", body: object = None, **headers: str) -> Answer:
        """One request as a caller makes it, with a trace and a request id; its answer is kept under `name`."""
        given = {key.replace("_", "-"): value for key, value in headers.items()}
        self.asked += 1
        answer = self.service.call(path, method=method, body=body, headers={**HEADERS, **given})
        self.answers[name] = answer
        return answer

    def lines(self) -> list[dict[str, Any]]:
        """Log lines that are JSON objects."""
        return [json.loads(line) for line in self.service.log().splitlines() if line.startswith("{")]

    def line(self, message: str) -> dict[str, Any]:
        """The one log line that says `message`."""
        found = [line for line in self.lines() if line.get("message") == message]
        assert len(found) == 1, (message, len(found))
        return found[0]

    def samples(self, path: str = "/metrics") -> list[Sample]:
        """A scrape on the service's own port."""
        with urllib.request.urlopen(self.service.url + path, timeout=10) as response:
            return parse_exposition(response.read().decode())

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name with these labels.

        Raises:
            AssertionError: there is none.
        """
        samples = self.samples()
        values = [s.value for s in samples if s.name == name and labels.items() <= dict(s.labels).items()]
        assert values, (name, labels, sorted({s.name for s in samples}))
        return sum(values)

    def span(self, name: str, **attributes: Any) -> SpanRecord:
        """A span of that name with these attributes."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}
        found = [s for s in self.spans if s.name == name and wanted.items() <= dict(s.attributes).items()]
        assert found, (name, wanted, sorted({s.name for s in self.spans}))
        return found[0]

    def event(self, kind: str) -> dict[str, Any]:
        """The one Sentry event of that exception's type, or with that message."""
        found = [event for event in self.sentry.events if what(event) == kind]
        assert len(found) == 1, (kind, [what(event) for event in self.sentry.events])
        return found[0]

    def health(self, path: str) -> Any:
        """The body of a health path."""
        return self.service.call(path).json()


def _filled(text: str, outside: str, logs: Path) -> str:
    names = {"{outside}": outside, "{websocket}": outside.replace("http", "ws"), "{logs}": str(logs)}
    for name, value in names.items():
        text = text.replace(name, value)
    return text


def what(event: Mapping[str, Any]) -> str:
    """The type of an event's exception, the outermost where one caused another, or its message."""
    values = (event.get("exception") or {}).get("values") or []
    if values:
        return str(values[-1].get("type"))
    return str(event.get("message") or (event.get("logentry") or {}).get("formatted"))


Driver = Callable[[Evidence], None]


@contextmanager
def running(
    name: str, environ: Mapping[str, str], drive: Driver, logs: Path, *, arguments: tuple[str, ...] = ()
) -> Iterator[Evidence]:
    """A stack's service with its traffic done, and everything of it delivered.

    Args:
        name: of the module in `examples/stacks`.
        environ: what the stack's README sets, with `{outside}` for the address of whom it calls.
        drive: makes the requests.
        logs: directory of its log.
        arguments: further ones of uvicorn.
    """
    command = (*OURS, "uvicorn", f"stacks.{name}:app", "--port", "{port}", *arguments)
    with OtlpSink() as sink, SentryServer() as sentry, Outside() as outside:
        variables = {
            "OTEL_DISTRO_LOGS": "json",
            "OTEL_DISTRO_HEALTH": "on",
            "OTEL_DISTRO_METRICS_ROUTE": "/metrics",
            "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url,
            "OTEL_TRACES_EXPORTER": "otlp",
            "SENTRY_DSN": sentry.dsn,
            "DATABASE_URL": f"sqlite+aiosqlite:///{logs / 'data.db'}",
            "PYTHONPATH": ".",
            **{key: _filled(value, outside.url, logs) for key, value in environ.items()},
        }
        service = Service(name, command, variables, logs)
        with service:
            evidence = Evidence(service, sentry, sink, outside)
            drive(evidence)
            wait_until(lambda: evidence.served() >= evidence.asked, seconds=15, what="the spans")
            yield evidence
