"""The processes of the benchmarks: the sink counts what is really sent to it, and every case does what it says."""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from benchmarks import rounds
from benchmarks.peers import PEERS, Peer
from benchmarks.processes import Child, Failed
from benchmarks.servers import Sink
from benchmarks.site import WORKLOAD, Site
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


def test_warming_up_ends_when_its_time_is_over(driver: Child) -> None:
    """A slow case is warm after fewer requests, and does not hold up the run."""
    answer = driver.ask({"do": "warm", "case": "plain", "requests": 1_000_000, "seconds": 0.05})
    assert 1 <= answer["requests"] < 1_000_000
    assert driver.ask({"do": "warm", "case": "plain", "requests": 7, "seconds": 60})["requests"] == 7


_PLAIN = [case for case in CASES if case.name == "plain"]
_PEERS = {peer.name: peer for peer in PEERS}


def _measured(
    monkeypatch: pytest.MonkeyPatch, sink: Sink, peers: list[Peer], turns: int, *, often: frozenset[str] = frozenset()
) -> tuple[list[dict[str, Any]], list[Child]]:
    """Rows of so many short rounds of the plain case, all peers in this environment, and the processes of all."""
    started = []

    class Recorded(Child):
        def __init__(self, command: list[str], environment: Mapping[str, str], name: str) -> None:
            super().__init__(command, environment, name)
            started.append(self)

    monkeypatch.setattr(rounds, "Child", Recorded)
    site = Site({peer.name: Path(sys.prefix) for peer in peers}, sink, 200, None)
    cases = [replace(case, often=often) for case in _PLAIN]
    return rounds.run(site, sink, peers, cases, rounds.Plan(turns, 0.2)), started


def test_each_round_has_processes_of_its_own(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """How one process lies in memory decides no more than one round, and what is sent to warm it up is not counted."""
    rows, started = _measured(monkeypatch, sink, [_PEERS["bare"], _PEERS["ours"]], 3)
    assert [child.name for child in started] == ["bare", "ours"] * 3
    assert len({child.pid for child in started}) == 6
    measured = sorted((row["round"], row["peer"]) for row in rows)
    assert measured == [(turn, name) for turn in range(3) for name in ("bare", "ours")]
    for row in rows:
        assert row["spans"] == (1 if row["peer"] == "ours" else 0)
        assert row["arrived"] == row["sent"] == row["spans"] * row["requests"]


def test_a_peer_that_cannot_start_is_named_once_and_left_out(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """Later rounds start only who is still measured."""
    lost = replace(_PEERS["noop"], setup="of nobody")
    rows, started = _measured(monkeypatch, sink, [_PEERS["bare"], lost], 2)
    assert [child.name for child in started] == ["bare", "noop", "bare"]
    failed = [row for row in rows if "failed" in row]
    assert [(row["peer"], row["case"]) for row in failed] == [("noop", "plain")]
    assert "KeyError" in failed[0]["failed"]
    assert [row["round"] for row in rows if row["peer"] == "bare"] == [0, 1]


def test_a_case_that_is_measured_often_has_more_rounds(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """They come after those of all cases, for the peers that it names, with processes of their own as well."""
    peers = [_PEERS["bare"], _PEERS["noop"]]
    rows, started = _measured(monkeypatch, sink, peers, 1, often=frozenset({"bare"}))
    assert [row["round"] for row in rows if row["peer"] == "bare"] == list(range(rounds.OFTEN))
    assert [row["round"] for row in rows if row["peer"] == "noop"] == [0]
    assert len({child.pid for child in started}) == rounds.OFTEN + 1
