"""Requests that a server calls too large: halved until they are taken, and what cannot be is counted."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_distro.settings import Distro
from tests.otlp_servers import OK, RawServer, Script, Speaking, batch, read_request
from tests.servers.signals import spans_of
from tests.servers.sink import Answer, OtlpSink
from tests.servers.waiting import wait_until

TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n"


def limited(most: int, seen: list[tuple[int, bytes]]) -> Script:
    """A server that takes bodies of up to `most` bytes; it notes the length of each, and the body if it was taken."""

    def script(connection: socket.socket, _: int) -> None:
        while request := read_request(connection):
            body = request.partition(b"\r\n\r\n")[2]
            seen.append((len(body), body if len(body) <= most else b""))
            connection.sendall(OK if len(body) <= most else TOO_LARGE)

    return script


def names(seen: list[tuple[int, bytes]]) -> list[str]:
    """Names of the spans that were taken, in the order in which they came."""
    bodies = [body for _, body in seen if body]
    return [
        span.name for body in bodies for span in spans_of(ExportTraceServiceRequest.FromString(body).resource_spans)
    ]


@pytest.mark.parametrize("count", [2, 3, 100, 512])
def test_a_batch_is_halved_until_it_is_taken(count: int) -> None:
    """Every span arrives once and in order, and the sizes that were refused are not tried again."""
    seen: list[tuple[int, bytes]] = []
    with RawServer(limited(3_000, seen)) as server, Speaking(server.url) as speaking:
        speaking.sender.submit(batch(1, count, padding=1_000))
        assert speaking.sender.flush(30)
        stats = speaking.sender.stats()
        assert (stats.sent, stats.queued, stats.queued_bytes, dict(stats.dropped)) == (count, 0, 0, {})
        assert names(seen) == [f"span {number}" for number in range(1, count + 1)]
        refused = [size for size, body in seen if not body]
        assert refused == sorted(refused, reverse=True)
        assert len(refused) < 12
        assert speaking.lines == []


def test_joined_batches_are_taken_apart_first() -> None:
    """Batches that were refused together leave in smaller requests, in order, and nothing is lost."""
    with OtlpSink() as sink, Speaking(f"{sink.url}/v1/traces") as speaking:
        sink.answer_next(Answer(status=413))
        with speaking.sender.lock:  # else a busy machine may send one before the next is there
            for number in range(1, 6):
                speaking.sender.accept(batch(number), stay=False)
        wait_until(lambda: speaking.sender.stats().queued == 0, seconds=10, what="an empty spool")
        assert [span.name for span in sink.spans] == [f"span {number}" for number in range(1, 6)]
        assert max(len(request.body) for request in sink.requests[1:]) <= len(sink.requests[0].body) / 2
        assert dict(speaking.sender.stats().dropped) == {}


def test_a_span_that_is_too_large_by_itself_is_dropped_alone() -> None:
    """Of a batch with one span that nobody takes, all others arrive, and that one is counted and said."""
    seen: list[tuple[int, bytes]] = []
    large, small = batch(50, padding=10_000), batch(1, 49)
    with RawServer(limited(6_000, seen)) as server, Speaking(server.url) as speaking:
        speaking.sender.submit(small._replace(body=small.body + large.body, items=50))
        assert speaking.sender.flush(30)
        stats = speaking.sender.stats()
        assert (stats.sent, dict(stats.dropped)) == (49, {"refused with status 413": 1})
        assert names(seen) == [f"span {number}" for number in range(1, 50)]
        assert len(speaking.lines) == 1
        assert "status 413" in speaking.lines[0]


def test_a_server_that_calls_everything_too_large_gets_few_requests() -> None:
    """A batch costs about as many requests as it can be halved one after the other, and all spans are counted."""
    seen: list[tuple[int, bytes]] = []
    with RawServer(limited(0, seen)) as server, Speaking(server.url) as speaking:
        for number in range(5):
            speaking.sender.submit(batch(number * 512, 512))
            assert speaking.sender.flush(30)
        stats = speaking.sender.stats()
        assert (stats.sent, dict(stats.dropped)) == (0, {"refused with status 413": 5 * 512})
        assert len(seen) < 40


def test_halves_of_a_file_are_files(tmp_path: Path) -> None:
    """What waited on disk and is refused as too large is still there after the process, as long as it was not taken."""
    distro = Distro(spool_dir=str(tmp_path))
    with OtlpSink() as sink:
        sink.answer = Answer(status=503)
        with Speaking(f"{sink.url}/v1/traces", distro=distro) as speaking:
            speaking.sender.submit(batch(1, 64))
            wait_until(lambda: speaking.sender.stats().failures > 0, seconds=10, what="a failure")
            sink.answer_next(Answer(status=413))
            wait_until(lambda: 413 in [request.status for request in sink.requests], seconds=10, what="a 413")
        sink.answer = Answer()
        with Speaking(f"{sink.url}/v1/traces", distro=distro) as speaking:
            assert speaking.send(65)
            wait_until(lambda: len(sink.spans) == 65, seconds=20, what="what the first left")
            assert sorted(int(span.name.split()[1]) for span in sink.spans) == list(range(1, 66))
