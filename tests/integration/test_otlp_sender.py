"""Senders and exporters: outages, refusals, forks and ends, against a real receiver."""

from __future__ import annotations

import gzip
import json
import logging
import os
import random
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from otel_distro.guard import Guard
from otel_distro.otlp.backoff import Backoff
from otel_distro.otlp.exporters import (
    build_encoder,
    build_log_exporter,
    build_metric_exporter,
    build_sender,
    build_span_exporter,
)
from otel_distro.otlp.stats import SenderStats
from otel_distro.settings import Distro, Metrics, Otlp
from tests.held_up import delays, held_up
from tests.otlp_servers import OK, QUICK, RawServer, Speaking, batch, keep_answering, read_request, refused_url
from tests.servers.sink import Answer, OtlpSink
from tests.servers.waiting import wait_until

SLOW = Backoff(60.0, 60.0)
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


def settled(speaking: Speaking) -> SenderStats:
    """The numbers once nothing waits any more."""
    wait_until(lambda: speaking.sender.stats().queued == 0, seconds=10, what="an empty spool")
    return speaking.sender.stats()


def test_an_outage_loses_nothing_and_is_said_once_each_way() -> None:
    """A collector that is away for a while gets everything in order when it is back; one line then and one before."""
    with OtlpSink() as sink, Speaking(f"{sink.url}/v1/traces") as speaking:
        assert speaking.send(1)
        sink.stop()
        for number in range(2, 200):
            speaking.sender.submit(batch(number))
        wait_until(lambda: speaking.sender.stats().failures >= 3, seconds=10, what="three failures")
        sink.start()
        stats = settled(speaking)
        assert [span.name for span in sink.spans] == [f"span {number}" for number in range(1, 200)]
        assert (stats.sent, dict(stats.dropped), stats.away_for) == (199, {}, None)
        # said when the lock is given up, which is when the spool has been seen to be empty
        wait_until(lambda: len(speaking.lines) >= 2, seconds=10, what="the line about its return")
        assert len(speaking.lines) == 2
        assert "connection refused" in speaking.lines[0]
        assert f"http://127.0.0.1:{sink.port}/v1/traces" in speaking.lines[0]
        assert "is back" in speaking.lines[1]


def test_all_signals_of_one_collector_say_once_that_it_is_away() -> None:
    """Three signals that go to the same dead collector make one line, without credentials, with what to check."""
    lines: list[str] = []
    guard = Guard(output=lambda level, text: lines.append(text))
    base = refused_url().removesuffix("/v1/traces").replace("http://", "http://me:hunter2@")
    senders = [
        build_sender(
            Otlp(endpoint=f"{base}/v1/{signal}"), build_encoder(signal, "http/protobuf"), Distro(), guard, backoff=QUICK
        )
        for signal in ("traces", "metrics", "logs")
    ]
    for sender in senders:
        sender.submit(batch(1))
        wait_until(lambda sender=sender: sender.stats().failures >= 2, seconds=10, what="a second failure")
    wait_until(lambda: lines, seconds=10, what="a line")
    assert len(lines) == 1
    assert "connection refused" in lines[0]
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in lines[0]
    assert "hunter2" not in lines[0]
    for sender in senders:
        sender.shutdown(0.5)


def test_memory_is_bounded_and_the_oldest_goes_first() -> None:
    """With the collector away for ever the spool keeps its size, keeps the newest, and counts every span that went."""
    with Speaking(refused_url(), distro=Distro(spool_size=100_000), backoff=SLOW) as speaking:
        for number in range(500):
            speaking.sender.submit(batch(number * 10, 10))
        stats = speaking.sender.stats()
        assert stats.queued_bytes <= 100_000
        assert stats.queued + stats.dropped["spool full"] == 5_000
        assert len(speaking.lines) <= 1
    with (
        OtlpSink() as sink,
        # one failure: after a few a batch that is not taken lets the others go first
        Speaking(f"{sink.url}/v1/traces", distro=Distro(spool_size=100_000), backoff=SLOW) as speaking,
    ):
        sink.answer = Answer(status=503)
        for number in range(500):
            speaking.sender.submit(batch(number * 10, 10))
        wait_until(lambda: speaking.sender.stats().failures == 1, seconds=10, what="a failure")
        sink.answer = Answer()
        speaking.sender.hurry()
        settled(speaking)
        found = [int(span.name.split()[1]) for span in sink.spans]
        assert found[-1] == 4_999
        tail = found[-500:]
        assert tail == sorted(tail)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_collector_is_asked_again(status: int) -> None:
    """A batch that meets a retryable status is delivered once the collector takes it."""
    with OtlpSink() as sink, Speaking(f"{sink.url}/v1/traces") as speaking:
        sink.answer_next(Answer(status=status), Answer(status=status))
        speaking.sender.submit(batch(1))
        assert settled(speaking).sent == 1
        assert [request.status for request in sink.requests] == [status, status, 200]
        assert f"status {status}" in speaking.lines[0]


def test_retry_after_is_waited_for() -> None:
    """With `Retry-After: 1` the next attempt comes no sooner than a second later, however short the back-off is."""
    with OtlpSink() as sink, Speaking(f"{sink.url}/v1/traces") as speaking:
        sink.answer_next(Answer(status=429, headers={"Retry-After": "1"}))
        speaking.sender.submit(batch(1))
        settled(speaking)
        first, second = (request.monotonic for request in sink.requests)
        assert second - first >= 1.0


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 500])
def test_a_refusal_is_said_once_and_counted(status: int) -> None:
    """A final status drops the batch, says status, reason and number once, and later batches go on being tried."""
    with OtlpSink() as sink, Speaking(f"{sink.url}/v1/traces") as speaking:
        sink.answer = Answer(status=status, headers={"Content-Type": "text/plain"}, body=b"because\r\nof you")
        assert speaking.send(1)
        assert speaking.send(2)
        sink.answer = Answer()
        assert speaking.send(3)
        stats = speaking.sender.stats()
        assert (stats.sent, dict(stats.dropped)) == (1, {f"refused with status {status}": 2})
        assert len(speaking.lines) == 1
        assert f"status {status}, because  of you" in speaking.lines[0]
        assert len(sink.requests) == 3


def test_partial_success_counts_what_was_rejected() -> None:
    """Items the collector did not take are counted apart, with its reason said once."""
    body = b"\x0a\x0b\x08\x03\x12\x07too old"
    with OtlpSink() as sink, Speaking(f"{sink.url}/v1/traces") as speaking:
        sink.answer = Answer(headers={"Content-Type": "application/x-protobuf"}, body=body)
        speaking.sender.submit(batch(1, 10))
        speaking.sender.flush(5)
        speaking.sender.submit(batch(11, 10))
        speaking.sender.flush(5)
        stats = speaking.sender.stats()
        assert (stats.sent, dict(stats.dropped)) == (14, {"rejected by the collector": 6})
        assert len(speaking.lines) == 1
        assert "too old" in speaking.lines[0]


def test_a_burst_of_slices_is_one_request() -> None:
    """Batches that come one after the other are joined, up to the limit of items, and stay in order."""
    with OtlpSink() as sink, Speaking(f"{sink.url}/v1/traces") as speaking:
        with speaking.sender.lock:  # else a busy machine may send each before the next is there
            for number in range(16):
                speaking.sender.accept(batch(1 + number * 64, 64), stay=False)
        settled(speaking)
        assert [span.name for span in sink.spans] == [f"span {number}" for number in range(1, 1025)]
        assert len(sink.requests) == 2
    with OtlpSink() as sink, Speaking(f"{sink.url}/v1/traces", protocol="http/json") as speaking:
        encoder = build_encoder("traces", "http/json")
        assert encoder.content_type == "application/json"
        for _ in range(3):
            speaking.sender.submit(encoder.encode([]))
            speaking.sender.submit(batch(1)._replace(body=b"{}"))
        settled(speaking)
        assert [request.body for request in sink.requests] == [b"{}"] * 3


def ended(collector: str, waiting: int, seconds: float) -> tuple[float, SenderStats, list[str]]:
    """How long a shutdown took that may take so many seconds, without those that a busy machine took; what it left."""

    def hanging(connection: Any, _: int) -> None:
        while connection.recv(1 << 20):
            pass

    with RawServer(keep_answering(OK) if collector == "up" else hanging) as server:
        url = refused_url() if collector == "down" else server.url
        speaking = Speaking(url, backoff=SLOW, distro=Distro(spool_size=100_000_000))
        block = batch(1, 64)
        for _ in range(waiting // 64):
            speaking.sender.submit(block)
        if waiting % 64:
            speaking.sender.submit(batch(1, waiting % 64))
        started, before = time.monotonic(), delays()
        speaking.sender.shutdown(seconds)
        took = time.monotonic() - started - held_up(before, delays())
        server.stopping.set()
        return took, speaking.sender.stats(), speaking.lines


@pytest.mark.parametrize("waiting", [0, 1, 2_000, 100_000])
@pytest.mark.parametrize("collector", ["down", "hanging", "up"])
def test_the_end_keeps_its_time(collector: str, waiting: int) -> None:
    """Whatever waits and however the collector behaves, shutdown takes its second and not much more; all is counted."""
    # who takes everything gets it all, however long a busy machine needs for that
    seconds = 60.0 if collector == "up" else 1.0
    for _ in range(3):  # nobody counts for how long a whole machine stood still
        took, stats, lines = ended(collector, waiting, seconds)
        if took < seconds + 0.5:
            break
    assert took < seconds + 0.5
    assert stats.sent + sum(stats.dropped.values()) == waiting
    assert stats.queued == 0
    if collector == "up":
        assert stats.sent == waiting
        assert lines == []
    elif waiting:
        assert any("not delivered" in line for line in lines)
    assert len(lines) <= 2


def test_a_program_that_ends_soon_says_one_line_about_what_was_lost_and_why() -> None:
    """When the process ends before the second attempt, one line says what was lost, where to, why and what to check."""
    speaking = Speaking(refused_url(), backoff=SLOW)
    speaking.sender.submit(batch(1))
    assert not speaking.sender.flush(60)  # one attempt
    speaking.sender.shutdown(60)
    assert len(speaking.lines) == 1
    assert "1 span was not delivered" in speaking.lines[0]
    assert "connection refused" in speaking.lines[0]
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in speaking.lines[0]


def test_one_batch_that_is_never_taken_does_not_stop_the_others() -> None:
    """A collector that answers 503 to one batch and 200 to the rest gets the rest; the one is given up and counted."""
    poison = b"\x06span 7"  # with its length before it: no other span's name contains it

    def answering(connection: Any, _: int) -> None:
        while request := read_request(connection):
            connection.sendall(UNAVAILABLE if poison in request else OK)

    with RawServer(answering) as server, Speaking(server.url) as speaking:
        for number in range(1, 20):
            speaking.sender.submit(batch(number))
        wait_until(lambda: speaking.sender.stats().sent == 18, seconds=20, what="the others")
        for number in range(20, 40):
            speaking.sender.submit(batch(number))
            time.sleep(0.05)
        wait_until(lambda: speaking.sender.stats().queued == 0, seconds=30, what="an empty spool")
        stats = speaking.sender.stats()
        assert (stats.sent, dict(stats.dropped)) == (38, {"not taken while others were": 1})


def test_the_end_in_the_middle_of_a_back_off_tries_once_more() -> None:
    """A collector that came back during a long back-off still gets everything at shutdown."""
    with OtlpSink() as sink:
        speaking = Speaking(f"{sink.url}/v1/traces", backoff=SLOW)
        sink.answer_next(Answer(status=503))
        speaking.sender.submit(batch(1))
        wait_until(lambda: speaking.sender.stats().failures == 1, seconds=5, what="a failure")
        speaking.sender.submit(batch(2))
        speaking.sender.shutdown(60.0)
        assert [span.name for span in sink.spans] == ["span 1", "span 2"]


def test_flush_of_a_dead_collector_costs_one_attempt() -> None:
    """A flush with a long timeout returns as soon as the one attempt it makes has failed."""
    with Speaking(refused_url(), backoff=SLOW) as speaking:
        started = time.monotonic()
        assert not speaking.send(1, seconds=60)
        assert not speaking.send(2, seconds=60)
        assert time.monotonic() - started < 20
        assert speaking.sender.stats().requests == 2


def test_a_request_under_way_is_no_success() -> None:
    """Beside a collector that hangs the count of successes never falls, which Prometheus takes for a restart."""
    with OtlpSink() as sink, Speaking(f"{sink.url}/v1/traces", timeout=0.5) as speaking:
        speaking.sender.submit(batch(1))
        before = settled(speaking)
        sink.answer = Answer(delay=30)
        speaking.sender.submit(batch(2))
        successes = []

        def failed() -> bool:
            stats = speaking.sender.stats()
            successes.append(stats.requests - stats.failures)
            return stats.failures >= before.failures + 2

        wait_until(failed, seconds=20, what="two failures")
        assert set(successes) == {1}


def test_after_the_end_nothing_is_taken() -> None:
    """What is submitted after shutdown is counted as dropped, and a second shutdown does nothing."""
    with OtlpSink() as sink:
        speaking = Speaking(f"{sink.url}/v1/traces")
        speaking.sender.shutdown(1.0)
        speaking.sender.submit(batch(1, 3))
        speaking.sender.shutdown(1.0)
        assert dict(speaking.sender.stats().dropped) == {"not sent before the end": 3}
        assert sink.requests == []


def test_an_idle_sender_has_no_thread() -> None:
    """The thread starts with the first batch and not before; and ends with the sender."""
    name = "otel-distro-otlp-traces"

    def none() -> bool:
        return name not in [thread.name for thread in threading.enumerate()]

    wait_until(none, seconds=20, what="the end of other tests' threads")
    with OtlpSink() as sink:
        speaking = Speaking(f"{sink.url}/v1/traces")
        assert none()
        assert speaking.send(1)
        assert not none()
        speaking.sender.shutdown(60.0)
        wait_until(none, seconds=10, what="the end of the thread")


def test_a_forked_child_starts_empty_and_sends_its_own() -> None:
    """With batches waiting and one under way, each of 20 children sends its own once, and the parent all of its."""
    with OtlpSink() as sink, Speaking(f"{sink.url}/v1/traces") as speaking:
        sink.answer = Answer(delay=0.02)
        children = []
        chance = random.Random(1)
        for child_number in range(20):
            for number in range(5):
                speaking.sender.submit(batch(child_number * 5 + number + 1))
            time.sleep(chance.uniform(0, 0.03))
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    empty = speaking.sender.stats().queued == 0
                    speaking.sender.submit(batch(10_000 + child_number))
                    code = 0 if speaking.sender.flush(20) and empty else 2
                finally:
                    os._exit(code)
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        settled(speaking)
        assert codes == [0] * 20
        expected = [f"span {number}" for number in [*range(1, 101), *range(10_000, 10_020)]]
        assert sorted(span.name for span in sink.spans) == sorted(expected)


def test_saying_something_never_locks_up_with_a_log_handler() -> None:
    """A handler that exports every line of the distro itself, at once, does not deadlock with the sender's lines."""
    with OtlpSink() as sink:
        guard = Guard()
        exporter = build_log_exporter(Otlp(endpoint=f"{sink.url}/v1/logs"), Distro(), guard)
        provider = LoggerProvider(shutdown_on_exit=False)
        provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
        handler = LoggingHandler(logger_provider=provider)
        logger = logging.getLogger("otel_distro")
        logger.addHandler(handler)
        try:
            sink.answer = Answer(status=400)
            stop = threading.Event()

            def chatter() -> None:
                while not stop.is_set():
                    logger.warning("a line of the application")

            threads = [threading.Thread(target=chatter) for _ in range(3)]
            for thread in threads:
                thread.start()
            wait_until(lambda: exporter.stats()[0].failures >= 5, seconds=20, what="five refusals")
            stop.set()
            for thread in threads:
                thread.join(10)
            assert not any(thread.is_alive() for thread in threads)
        finally:
            logger.removeHandler(handler)
            provider.shutdown()


def exported_by_the_sdk(url: str, protocol: str) -> list[SenderStats]:
    """A span, a metric and a log record of the unmodified SDK, exported by our exporters; the numbers at the end."""
    guard = Guard(output=lambda level, text: None)

    def otlp(signal: str) -> Otlp:
        return Otlp(endpoint=f"{url}/v1/{signal}", protocol=protocol, compression="gzip")

    spans = build_span_exporter(otlp("traces"), Distro(), guard)
    metrics = build_metric_exporter(otlp("metrics"), Metrics(temporality="delta"), Distro(), guard)
    logs = build_log_exporter(otlp("logs"), Distro(), guard)
    tracers, loggers = TracerProvider(shutdown_on_exit=False), LoggerProvider(shutdown_on_exit=False)
    meters = MeterProvider([PeriodicExportingMetricReader(metrics)], shutdown_on_exit=False)
    tracers.add_span_processor(BatchSpanProcessor(spans))
    loggers.add_log_record_processor(BatchLogRecordProcessor(logs))
    logger, handler = logging.getLogger("otlp-test"), LoggingHandler(logger_provider=loggers)
    logger.addHandler(handler)
    with tracers.get_tracer("t").start_as_current_span("work"):
        logger.warning("hello")
    meters.get_meter("m").create_counter("requests").add(2)
    logger.removeHandler(handler)
    for provider in (tracers, meters, loggers):
        provider.shutdown()
    return [exporter.stats()[0] for exporter in (spans, metrics, logs)]


def test_the_exporters_work_behind_upstreams_sdk() -> None:
    """A span, a metric and a log record made by the unmodified SDK arrive and are counted as sent."""
    with OtlpSink() as sink:
        stats = exported_by_the_sdk(sink.url, "http/protobuf")
        assert [span.name for span in sink.spans] == ["work"]
        assert [point.name for point in sink.points] == ["requests"]
        assert len(sink.logs) == 1
        assert [(each.sent, dict(each.dropped)) for each in stats] == [(1, {})] * 3


def test_json_is_sent_as_json() -> None:
    """With http/json all three signals leave as JSON text of that media type."""
    seen: list[bytes] = []
    with RawServer(keep_answering(OK, seen)) as server:
        stats = exported_by_the_sdk(server.url.removesuffix("/v1/traces"), "http/json")
    assert [(each.sent, dict(each.dropped)) for each in stats] == [(1, {})] * 3
    tops = set()
    for request in seen:
        head, _, body = request.partition(b"\r\n\r\n")
        assert b"Content-Type: application/json\r\n" in head
        tops |= set(json.loads(gzip.decompress(body)))
    assert tops == {"resourceSpans", "resourceMetrics", "resourceLogs"}


@pytest.mark.parametrize("version", ["", "3.12.1", "3.13.0"])
def test_a_batch_exported_while_the_interpreter_ends_is_sent(version: str) -> None:
    """Exported by an `atexit` hook, where Python 3.12 and later start no more threads, a batch is still delivered."""
    python = Path.home() / ".pyenv/versions" / version / "bin/python" if version else Path(sys.executable)
    if not python.exists():
        pytest.skip(f"Python {version} is not installed")
    script = """
        import atexit, sys
        from otel_distro.guard import Guard
        from otel_distro.otlp.exporters import build_encoder, build_sender
        from otel_distro.otlp._batch import Encoded
        from otel_distro.settings import Distro, Otlp
        sender = build_sender(Otlp(endpoint=sys.argv[1]), build_encoder("traces", "http/protobuf"), Distro(), Guard())
        def end():
            sender.submit(Encoded(bytes.fromhex(sys.argv[2]), 1))
            sender.shutdown(5)
        atexit.register(end)
    """
    with OtlpSink() as sink:
        arguments = [str(python), "-c", textwrap.dedent(script), f"{sink.url}/v1/traces", batch(1).body.hex()]
        paths = [str(Path(__file__).parents[2]), *(path for path in sys.path if path.endswith("site-packages"))]
        environ = {"PYTHONPATH": os.pathsep.join(paths), "PATH": os.environ["PATH"]}
        done = subprocess.run(arguments, env=environ, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert [span.name for span in sink.spans] == ["span 1"]
