"""10,000 requests at once, each somebody else's: spans, lines, records and Sentry events of the same traffic."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.programs import OURS, environment
from tests.servers.sentry import SentryServer
from tests.servers.sink import OtlpSink

MANY, REPORTED = 10_000, 10
"""How many requests, and which part of them reports an event: making one takes as long as ten requests."""

PROGRAM = """
import asyncio, logging, otel_distro, sentry_sdk
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
# without Sentry's own middleware, which takes longer than all the rest and is not what is tested
sentry_sdk.init(transport_queue_size=10_000, default_integrations=False, auto_enabling_integrations=False)
log = logging.getLogger("shop")

async def item(request):
    number = request.path_params["number"]
    otel_distro.set_user(f"u{number}")
    otel_distro.set_context(tenant=f"t{number}")
    log.info("first %d", number)
    await asyncio.sleep(0)
    await asyncio.gather(child(number), asyncio.sleep(0.01))
    return Response(b"")

app = Starlette(routes=[Route("/{number:int}", item)])

async def child(number):
    await asyncio.sleep(0.001)
    with otel_distro.operation("child", attributes={"number": number}, metrics=False):
        await asyncio.sleep(0)
        log.info("child %d", number)
        if not number % REPORTED:
            otel_distro.capture_message(f"reported {number}")

async def call(number):
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}
    async def send(message):
        pass
    path = f"/{number}"
    headers = [(b"host", b"h"), (b"x-request-id", f"request-{number}".encode())]
    await app({"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"",
               "headers": headers, "scheme": "http", "http_version": "1.1", "client": ("c", 1), "server": ("s", 80),
               "root_path": "", "asgi": {"version": "3.0"}}, receive, send)

async def main():
    await asyncio.gather(*[call(number) for number in range(MANY)])

asyncio.run(main())
sentry_sdk.flush(60)
""".replace("MANY", str(MANY)).replace("REPORTED", str(REPORTED))


def _settings(sink: OtlpSink, sentry: SentryServer) -> dict[str, str]:
    return {
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_DISTRO_LOGS": "json,otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url,
        "OTEL_BSP_MAX_QUEUE_SIZE": "100000",
        "OTEL_BLRP_MAX_QUEUE_SIZE": "100000",
        "OTEL_DISTRO_SHUTDOWN_TIMEOUT": "20000",
        "SENTRY_DSN": sentry.dsn,
    }


def test_ten_thousand_concurrent_requests_mix_nothing(tmp_path: Path) -> None:
    """Different users, tenants and ids: each span, line, record and Sentry event has those of its own request."""
    with OtlpSink() as sink, SentryServer() as sentry, (tmp_path / "lines").open("wb") as lines:
        subprocess.run(
            [*OURS, sys.executable, "-c", PROGRAM],
            env=environment(_settings(sink, sentry)),
            cwd=tmp_path,
            stderr=lines,
            timeout=150,
            check=True,
        )
        records, spans, events = sink.logs, sink.spans, sentry.events
    traces = _lines(tmp_path / "lines")
    _records(records, traces)
    _spans(spans, traces)
    _events(events, traces)


def _lines(path: Path) -> dict[str, str]:
    """The trace of each request, by its lines."""
    traces: dict[str, str] = {}
    told = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line for line in told if line["logger"] == "otel_distro"] == []
    assert len(told) == 2 * MANY + MANY // REPORTED
    for line in told:
        number = line["message"].split()[1]
        assert (line["request_id"], line["user"], line["tenant"]) == _who(number)
        assert traces.setdefault(number, line["trace_id"]) == line["trace_id"]
    assert len(set(traces.values())) == MANY
    return traces


def _records(records: list[Any], traces: dict[str, str]) -> None:
    assert len(records) == 2 * MANY + MANY // REPORTED
    for record in records:
        number = str(record.body).split()[1]
        assert _attributes(record) == _who(number)
        assert record.trace_id == traces[number]


def _spans(spans: list[Any], traces: dict[str, str]) -> None:
    assert len(spans) == 2 * MANY
    for span in spans:
        number = str(span.attributes.get("number", span.attributes.get("url.path"))).strip("/")
        assert _attributes(span) == _who(number)
        assert span.trace_id == traces[number]


def _events(events: list[dict[str, Any]], traces: dict[str, str]) -> None:
    assert len(events) == MANY // REPORTED
    for event in events:
        number = event["message"].split()[1]
        tags = dict(event["tags"])
        assert (tags["request.id"], event["user"]["id"], tags["tenant.id"]) == _who(number)
        assert event["contexts"]["trace"]["trace_id"] == traces[number]


def _who(number: str) -> tuple[str, str, str]:
    return f"request-{number}", f"u{number}", f"t{number}"


def _attributes(said: Any) -> tuple[Any, Any, Any]:
    return tuple(said.attributes.get(name) for name in ("request.id", "user.id", "tenant.id"))  # type: ignore[return-value]
