"""Who sends in a drill: bare requests whose answers are seen, the upstream SDK, and this distribution."""

from __future__ import annotations

import gzip
import json
import os
import secrets
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

if TYPE_CHECKING:
    from collections.abc import Mapping

Sdk = Literal["upstream", "ours"]


class Sender(Protocol):
    """What a drill needs of a sender."""

    name: str

    def send(self, count: int, size: int = 0) -> None:
        """Send that many spans, each with an attribute of so many bytes."""

    def finish(self) -> None:
        """End as an application ends; afterwards `sent` and `told` are complete."""

    @property
    def sent(self) -> set[str]:
        """Span ids, in hex, that the application believes it has handed over."""

    @property
    def told(self) -> str:
        """What the sender was told, in a few words."""


class BareSender:
    """Requests of 20 spans without a retry: what it was told is what the collector said."""

    name = "bare"

    def __init__(self, url: str, authority: Path, token: str) -> None:
        """Sends to `url`, trusting `authority` where it speaks TLS, and shows `token`."""
        self.url = url
        self._headers = {"Content-Type": "application/x-protobuf", "Authorization": f"Bearer {token}"}
        context = ssl.create_default_context(cafile=str(authority))
        handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)
        self.answers: Counter[str] = Counter()
        self.accepted: set[str] = set()

    @property
    def sent(self) -> set[str]:
        """Spans of requests that were acknowledged: the others are still the sender's own."""
        return self.accepted

    @property
    def told(self) -> str:
        return ", ".join(f"{answer} x{times}" for answer, times in sorted(self.answers.items()))

    def send(self, count: int, size: int = 0) -> None:
        for start in range(0, count, 20):
            spans = min(20, count - start)
            self.send_spans([secrets.token_bytes(8) for _ in range(spans)], dict.fromkeys(range(spans), size))

    def send_spans(self, ids: list[bytes], sizes: Mapping[int, int] | None = None) -> None:
        """One request; `sizes` gives spans, by their place, an attribute of so many bytes."""
        body = gzip.compress(request_of(ids, sizes or {}).SerializeToString(), compresslevel=1)
        self.post(body, {span.hex() for span in ids}, encoding="gzip")

    def post(self, body: bytes, spans: set[str], *, encoding: str = "") -> None:
        """One request as it is, with the spans that it stands for."""
        # The collector answers 400 to `identity`, whatever the body.
        answer = self._answer(body, self._headers | ({"Content-Encoding": encoding} if encoding else {}))
        self.answers[answer] += 1
        if answer == "200":
            self.accepted |= spans

    def _answer(self, body: bytes, headers: dict[str, str]) -> str:
        request = urllib.request.Request(f"{self.url}/v1/traces", data=body, headers=headers)
        try:
            with self._opener.open(request, timeout=10) as response:
                return str(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return str(error.code)
        except OSError:
            return "no connection"

    def finish(self) -> None:
        """Nothing is held back here."""


def _text(size: int) -> str:
    """So many characters that a queue cannot pack."""
    return secrets.token_urlsafe(size)[:size]


def request_of(ids: list[bytes], sizes: Mapping[int, int]) -> ExportTraceServiceRequest:
    """Spans with these ids as one request of one trace."""
    trace_id = secrets.token_bytes(16)
    spans = [
        Span(
            trace_id=trace_id,
            span_id=span_id,
            name="GET /orders/{id}",
            kind=Span.SPAN_KIND_SERVER,
            attributes=[_attribute("http.route", "/orders/{id}")]
            + ([_attribute("payload", _text(sizes[place]))] if sizes.get(place) else []),
        )
        for place, span_id in enumerate(ids)
    ]
    resource = Resource(attributes=[_attribute("service.name", "drill")])
    return ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(resource=resource, scope_spans=[ScopeSpans(spans=spans)])]
    )


def _attribute(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


class SdkSender:
    """An application under an SDK: batches, retries and, for ours, a spool on disk."""

    def __init__(self, sdk: Sdk, url: str, logs: Path, env: Mapping[str, str] | None = None) -> None:
        """Starts the application, which sends to `url`; `env` changes its environment."""
        self.name = "otel-distro" if sdk == "ours" else "upstream SDK"
        self.sent: set[str] = set()
        self._log = (logs / f"sender-{sdk}.log").open("w+")
        program = [sys.executable, str(Path(__file__).with_name("sender_app.py")), sdk]
        launcher = [sys.executable, "-m", "otel_distro", "run"] if sdk == "ours" else []
        # requests, which upstream sends with, prefers a *_CA_BUNDLE of the environment to the certificate it was given.
        others = ("OTEL_", "SENTRY_", "REQUESTS_CA_", "CURL_CA_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        self._process = subprocess.Popen(
            [*launcher, *program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=kept
            | {
                "OTEL_SERVICE_NAME": "drill",
                "OTEL_EXPORTER_OTLP_ENDPOINT": url,
                "OTEL_BSP_SCHEDULE_DELAY": "200",
                "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "100",  # of 20 kB: less than half of what a disk keeps in reserve
                "OTEL_METRICS_EXPORTER": "none",
                "OTEL_LOGS_EXPORTER": "none",
                "OTEL_DISTRO_SPOOL_DIR": str(logs / "spool"),
                **(env or {}),
            },
        )

    @property
    def told(self) -> str:
        """The lines that the program's log has about exports."""
        self._log.seek(0)
        lines = [line for line in self._log if "export" in line.lower() or "lost" in line.lower()]
        return f"{len(lines)} log lines" if lines else "nothing"

    def send(self, count: int, size: int = 0) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"send {count} {size}\n")
        self._process.stdin.flush()
        self.sent |= set(json.loads(self._process.stdout.readline()))

    def finish(self) -> None:
        """End of input; the program has a hundred seconds for what it still holds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(100)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def close(self) -> None:
        """End the program in any case."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None and not stream.closed:
                stream.close()
        self._log.close()
