"""The parts of the demo's driver: children, the receiver, the check of requirements, the tables."""

from __future__ import annotations

import gzip
import http.client
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from examples.demo.children import Family, Janitor, free_ports
from examples.demo.errors import DemoError
from examples.demo.metrics import DURATION, requests, table
from examples.demo.picture import svg
from examples.demo.receiver import Traces, receiving
from examples.demo.services import check_requirements
from examples.demo.traffic import Plan
from otel_distro.console import TraceTree


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    with Janitor(tmp_path) as janitor, Family(tmp_path, janitor) as family:
        yield family


@pytest.fixture
def traces() -> Traces:
    return Traces()


@pytest.fixture
def endpoint(traces: Traces) -> Iterator[str]:
    with receiving(traces) as endpoint:
        yield endpoint


def post(endpoint: str, body: bytes = b"", path: str = "/v1/traces", **headers: str) -> int:
    """Status of the answer to a POST."""
    connection = http.client.HTTPConnection(endpoint.removeprefix("http://"), timeout=10)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", path, body, {"Content-Type": "application/x-protobuf"} | named)
        return connection.getresponse().status
    finally:
        connection.close()


def make_spans(exporter: SpanExporter) -> None:
    """A server span called from elsewhere, over a client span that failed."""
    provider = TracerProvider(resource=Resource({"service.name": "orders", "process.command_args": ["a", "b"]}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    caller = NonRecordingSpan(SpanContext(7, 9, is_remote=True, trace_flags=TraceFlags(1)))
    with (
        trace.use_span(caller),
        tracer.start_as_current_span("serve", kind=SpanKind.SERVER),
        pytest.raises(KeyError),
        tracer.start_as_current_span("call", kind=SpanKind.CLIENT, attributes={"n": 3, "ok": True, "share": 0.5}),
    ):
        raise KeyError("US")
    provider.shutdown()


def test_a_child_that_ends_early_is_named_with_its_last_word(family: Family) -> None:
    """Waiting for a process that has ended fails at once, with its code, its last line and its log."""
    child = family.start("orders", [sys.executable, "-c", "print('first'); print('no database'); exit(3)"], {})
    with pytest.raises(DemoError, match=r"^orders ended with code 3: no database \(all of it: .*orders\.log\)$"):
        child.wait_until(lambda: False)


def test_a_child_that_never_answers_is_given_up(family: Family) -> None:
    """Waiting ends after its time, and says for whom."""
    child = family.start("orders", [sys.executable, "-c", "import time; print('hm', flush=True); time.sleep(60)"], {})
    with pytest.raises(DemoError, match="orders does not answer after 0 s"):
        child.wait_until(lambda: False, seconds=0.3)


def test_a_child_that_ignores_sigterm_still_ends(tmp_path: Path) -> None:
    """SIGKILL follows where SIGTERM is not heard."""
    code = "from signal import *; signal(SIGTERM, SIG_IGN); print('deaf', flush=True); pause()"
    with Janitor(tmp_path) as janitor, Family(tmp_path, janitor, stop_seconds=0.2) as family:
        child = family.start("deaf", [sys.executable, "-c", code], {})
        child.wait_until(lambda: "deaf" in child.log.read_text(), seconds=10)
    with pytest.raises(DemoError, match="code -9"):
        child.check()


def test_free_ports_differ() -> None:
    """Every name gets a port of its own."""
    ports = free_ports(dict.fromkeys("abcdef"))
    assert len(set(ports.values())) == 6


def test_what_is_not_installed_is_named() -> None:
    """All missing requirements stand in one line, by the names that pip knows."""
    missing = {"fakeredis", "opentelemetry.proto"}
    with pytest.raises(DemoError) as caught:
        check_requirements(lambda module: None if module in missing else object())
    assert str(caught.value) == (
        "not installed here: fakeredis, opentelemetry-proto; ./scripts/demo installs what the demo needs"
    )


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_received_spans_keep_what_the_tree_shows(traces: Traces, endpoint: str, compression: Compression) -> None:
    """Ids, parents, kinds, status, attributes, events and resource survive the way over the wire."""
    make_spans(OTLPSpanExporter(f"{endpoint}/v1/traces", compression=compression))
    found = traces.wait(lambda spans: len(spans) == 2, quiet=0, seconds=10)
    assert found is not None
    call, serve = found
    assert (serve.name, serve.kind, serve.context.trace_id) == ("serve", SpanKind.SERVER, 7)
    assert serve.parent is not None
    assert (serve.parent.span_id, serve.parent.is_remote) == (9, True)
    assert call.parent is not None
    assert (call.parent.span_id, call.parent.is_remote) == (serve.context.span_id, False)
    assert call.status.status_code is StatusCode.ERROR
    assert call.attributes == {"n": 3, "ok": True, "share": 0.5}
    assert call.events[0].attributes["exception.type"] == "KeyError"
    assert call.resource.attributes["service.name"] == "orders"
    assert serve.start_time <= call.start_time <= call.end_time <= serve.end_time


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"body": b"\xff\xff"}, 400),
        ({"body": b"no gzip", "Content_Encoding": "gzip"}, 400),
        ({"body": gzip.compress(b"x" * 100)[:-12], "Content_Encoding": "gzip"}, 400),
        ({"body": b"{}", "Content_Type": "application/json"}, 415),
        ({"Content_Length": "99000000"}, 413),
        ({"Content_Length": "many"}, 411),
        ({"path": "/v1/metrics"}, 404),
        ({}, 200),
    ],
)
def test_bad_requests_are_refused(traces: Traces, endpoint: str, request_: dict[str, Any], status: int) -> None:
    """What is no OTLP request gets its HTTP status, and the receiver goes on."""
    assert post(endpoint, **request_) == status
    assert traces.take(quiet=0) == []
    assert post(endpoint) == 200


def test_traces_are_bounded(traces: Traces, endpoint: str) -> None:
    """The oldest traces are forgotten when more come than are kept."""
    make_spans(OTLPSpanExporter(f"{endpoint}/v1/traces"))
    (first,) = traces.take(quiet=0)
    for number in range(1, 2_011):
        traces.add([replace(first[0], context=SpanContext(number, 1, is_remote=False))])
    kept = [spans[0].context.trace_id for spans in traces.take(quiet=0)]
    assert kept == list(range(11, 2_011))


def exposition() -> str:
    """A page of /metrics with four requests, one of them slower."""
    registry = CollectorRegistry()
    names = ["http_request_method", "http_route", "http_response_status_code"]
    histogram = Histogram(DURATION, "", names, registry=registry, buckets=(0.005, 0.01))
    for seconds in (0.003, 0.003, 0.003, 0.007):
        histogram.labels("GET", "/a", "200").observe(seconds)
    return generate_latest(registry).decode()


def test_the_table_marks_what_differs() -> None:
    """A series that was counted differently, or not at all, is marked; the others show mean and quantile."""
    counted = requests(exposition())
    right, *others = list(table("orders", Counter({("GET", "/a", 200): 4}), counted))[1:]
    assert right.split() == ["GET", "/a", "200", "4", "4", "4.0", "ms", "10", "ms"]
    assert others == []
    wrong = list(table("orders", Counter({("GET", "/a", 200): 5, ("GET", "/b", 200): 1}), counted))[1:]
    assert all(line.endswith("<- differs") for line in wrong)
    assert len(wrong) == 2


def test_the_plan_knows_the_cache() -> None:
    """A product is fetched from inventory once, whatever asks for it, and one that does not exist every time."""
    steps = list(Plan().steps(3))
    fetched = Counter(inner for step in steps for inner in step.inner if inner[1] == "/products/{sku}")
    assert fetched == {("GET", "/products/{sku}", 200): 4, ("GET", "/products/{sku}", 404): 3}
    assert {step.status for step in steps} == {200, 201, 404, 409, 422, 500}


def test_the_picture_says_what_the_terminal_says(traces: Traces, endpoint: str) -> None:
    """The SVG is well-formed, and its text is the text of the lines, whatever the names hold."""
    make_spans(OTLPSpanExporter(f"{endpoint}/v1/traces"))
    (spans,) = traces.take(quiet=0)
    spans = [replace(span, name=f"<{span.name}> & co") for span in spans]
    root = ET.fromstring(svg(spans))  # noqa: S314 - our own picture
    drawn = ["".join(line.itertext()).replace(" ", "") for line in root.iter("{http://www.w3.org/2000/svg}text")]
    assert drawn == [line.replace(" ", "") for line in TraceTree(spans).lines(110)]
    fills = {run.get("fill") for run in root.iter("{http://www.w3.org/2000/svg}tspan")}
    assert "#f47067" in fills
