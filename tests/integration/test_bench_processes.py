"""The processes of the benchmarks: the sink counts what is really sent to it, and every case does what it says."""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Iterator

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from benchmarks.processes import Child, Failed
from benchmarks.servers import Sink
from benchmarks.site import WORKLOAD
from benchmarks.workload.cases import CASES, Case


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    """A sink of its own."""
    with Sink() as running:
        yield running


@pytest.fixture(scope="module")
def driver(sink: Sink) -> Iterator[Child]:
    """The measured program, bare, in this environment."""
    environment = {**os.environ, "BENCH_HTTP_URL": f"{sink.url}/ok"}
    with Child([sys.executable, str(WORKLOAD), "drive"], environment, "test") as running:
        running.line()
        yield running


def _otlp(spans: int) -> bytes:
    held = [Span(name=f"span {number}") for number in range(spans)]
    resource = ResourceSpans(scope_spans=[ScopeSpans(spans=held)])
    return ExportTraceServiceRequest(resource_spans=[resource]).SerializeToString()


def test_sink_counts_spans_by_path_and_starts_again(sink: Sink) -> None:
    """Each count is what came since the one before, whichever way the body was framed."""
    sink.counts()
    connection = http.client.HTTPConnection("127.0.0.1", sink.port)
    for body in (_otlp(3), iter([_otlp(4)])):  # an iterator is sent in chunks
        connection.request("POST", "/one/v1/traces", body=body, encode_chunked=True)
        answer = connection.getresponse()
        assert answer.status == 200
        answer.read()
    connection.request("POST", "/one/v1/metrics", body=b"not looked into")
    connection.getresponse().read()
    connection.close()
    found = sink.counts()
    assert found["/one/v1/traces"]["spans"] == 7
    assert found["/one/v1/metrics"]["bodies"] == 1
    assert sink.counts() == {}


def test_spans_of_one_peer_wait_while_another_is_counted(sink: Sink) -> None:
    """Peers work in turns, so that the spans of several are on their way at once."""
    sink.forget()
    connection = http.client.HTTPConnection("127.0.0.1", sink.port)
    for path, spans in (("/one/v1/traces", 3), ("/two/v1/traces", 5), ("/one/v1/traces", 1)):
        connection.request("POST", path, body=_otlp(spans))
        connection.getresponse().read()
    connection.close()
    assert sink.spans("/two/", 5) == (5, 0)
    assert sink.spans("/one/", 4) == (4, 0)
    assert sink.spans("/one/", 1, seconds=0) == (0, 0)


@pytest.mark.parametrize("case", [case for case in CASES if case.needs != "redis"], ids=lambda case: case.name)
def test_case_answers_as_it_should_and_is_measured(driver: Child, case: Case) -> None:
    """A case that does not do its work would be cheap: its status is checked, and a round counts requests and time."""
    driver.ask({"do": "warm", "case": case.name, "requests": 1})
    driver.ask({"do": "begin", "case": case.name})
    for _ in range(2):
        driver.ask({"do": "slice", "case": case.name, "seconds": 0.02})
    row = driver.ask({"do": "end", "case": case.name})
    assert row["requests"] >= 1
    assert row["cpu_s"] > 0
    assert row["wall_s"] >= 0.04
    assert ("gaps_ms" in row) == case.lag


def test_requests_of_all_slices_are_counted_once(driver: Child) -> None:
    """Requests that come one after the other fill the time of the round, and not several times of it."""
    driver.ask({"do": "begin", "case": "lag"})
    for _ in range(8):
        driver.ask({"do": "slice", "case": "lag", "seconds": 0.01})
    row = driver.ask({"do": "end", "case": "lag"})
    assert row["requests"] * row["gaps_ms"]["p50"] / 1000 < 2 * row["wall_s"]


def test_failure_of_a_case_ends_no_run(driver: Child) -> None:
    """A case that cannot work is an answer; the next one is obeyed."""
    with pytest.raises(Failed, match="AssertionError"):
        driver.ask({"do": "warm", "case": "redis-50", "requests": 1})
    assert driver.ask({"do": "warm", "case": "plain", "requests": 2})["requests"] == 2


def test_a_process_that_ended_is_named_with_its_last_words() -> None:
    """Whoever reads the report learns why a peer is missing."""
    with (
        Child([sys.executable, "-c", "import sys; sys.exit('no such thing')"], os.environ, "lost") as child,
        pytest.raises(Failed, match=r"lost: ended with 1.*no such thing"),
    ):
        child.line()
