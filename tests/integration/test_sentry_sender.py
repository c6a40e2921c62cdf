"""The sender of spans to Sentry beside the collector's: one batch for both, limits, and who waits for whom."""

from __future__ import annotations

import gzip
import time
from pathlib import Path
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_distro import settings
from otel_distro.guard import Guard
from otel_distro.otlp._tls import Tls
from otel_distro.otlp.endpoint import Proxies
from otel_distro.otlp.exporters import build_span_exporter
from otel_distro.otlp.queue import SpanQueue
from otel_distro.sentry.spans import Marks, SentrySender
from otel_distro.sentry.stamp import Stamp, suffix
from otel_distro.settings.dsn import parse_dsn
from tests.held_up import delays, held_up
from tests.otlp_servers import OK, Certificates, RawServer, is_answered, keep_answering
from tests.servers.signals import spans_of
from tests.servers.sink import Answer, OtlpSink
from tests.servers.waiting import wait_until
from tests.tracing_rig import provider


class Both:
    """A provider whose spans go to a collector and to Sentry; shut down at the end of the `with` block."""

    def __init__(self, collector: OtlpSink, sentry: OtlpSink | RawServer, scheme: str = "http", **batch: Any) -> None:
        self.lines: list[str] = []
        guard = Guard(output=lambda _, text: self.lines.append(text))
        chosen = settings.Batch(**{"schedule_delay": 3_600_000, "max_export_batch_size": 10, **batch})
        otlp = settings.Otlp(endpoint=f"{collector.url}/v1/traces", headers={"x-key": "collector's"})
        self.exporter = build_span_exporter(otlp, settings.Distro(), guard, most_items=chosen.max_export_batch_size)
        self.sentry = SentrySender(
            parse_dsn(f"{scheme}://key@127.0.0.1:{sentry.port}/1"),
            Stamp(suffix(Marks("test", "shop@1").attributes()), personal=False),
            guard,
            proxies=Proxies(),
            memory=1_000_000,
            most_items=chosen.max_export_batch_size,
        )
        self.exporter.also(self.sentry)
        pieces = self.exporter.pieces
        assert pieces is not None
        self.queue = SpanQueue(self.exporter, pieces, batch=chosen, guard=guard)
        self.provider = provider(self.queue)
        self.tracer = self.provider.get_tracer("test")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.provider.shutdown(1000)

    def end(self, *names: object) -> None:
        """End a span of each name."""
        for name in names:
            self.tracer.start_span(str(name)).end()


def names(sink: OtlpSink) -> list[str]:
    """Names of the spans that arrived."""
    return [span.name for span in sink.spans]


def test_both_get_every_span_from_the_thread_that_ends_it() -> None:
    """Over open connections full batches leave unpacked without a thread, each with its own credentials alone."""
    with OtlpSink() as collector, OtlpSink() as sentry, Both(collector, sentry) as both:
        both.end("opens the connections")
        assert both.provider.force_flush(60_000)
        bells = [sender._bell for sender in both.exporter._export._senders]
        for bell in bells:
            bell.wait(0)
        for batch in range(3):
            both.end(*range(batch * 10, batch * 10 + 10))
            # where a sender's thread holds its lock, and waits for a processor, the next span would try it again
            wait_until(
                lambda: not len(both.queue) or both.queue._handed_over_now(), seconds=10, what="a batch from here"
            )
            wait_until(
                lambda: all(map(is_answered, both.exporter._export._senders)), seconds=10, what="the answers to it"
            )
        assert not any(bell.wait(0) for bell in bells)
        assert both.provider.force_flush(60_000)
        assert names(collector) == names(sentry) == ["opens the connections", *map(str, range(30))]
        assert all(span.attributes["sentry.release"] == "shop@1" for span in sentry.spans)
        assert not any("sentry.release" in span.attributes for span in collector.spans)
        for request in sentry.requests:
            assert "x-sentry-auth" in request.headers
            assert "x-key" not in request.headers
            assert "content-encoding" not in request.headers
        assert all("x-sentry-auth" not in request.headers for request in collector.requests)


def test_while_sentry_limits_the_rate_nothing_is_tried_and_nothing_has_failed() -> None:
    """A limit on a good answer stops requests to Sentry alone: no flush counts an attempt, and no end waits."""
    with OtlpSink() as collector, OtlpSink() as sentry:
        both = Both(collector, sentry)
        sentry.answer = Answer(headers={"X-Sentry-Rate-Limits": "60:span:organization"})
        both.end("first")
        assert both.provider.force_flush(60_000)
        for batch in range(5):
            both.end(*range(batch * 10, batch * 10 + 10))
            began = time.monotonic()
            assert not both.provider.force_flush(20_000)
            assert time.monotonic() - began < 10
        stats = both.sentry.stats()
        assert (stats.sent, stats.queued, stats.requests, stats.failures) == (1, 50, 1, 0)
        assert len(sentry.requests) == 1
        assert len(collector.spans) == 51
        began = time.monotonic()
        both.provider.shutdown(20_000)
        assert time.monotonic() - began < 10
        assert dict(both.sentry.stats().dropped) == {"not sent before the end": 50}
        assert any("limits the rate" in line for line in both.lines)
        assert any("50 spans were not delivered to Sentry" in line for line in both.lines)


def test_a_429_counts_once_and_is_waited_for() -> None:
    """The answer that sets a limit is a failed attempt, the time after it is none; what waits arrives afterwards."""
    with OtlpSink() as collector, OtlpSink() as sentry, Both(collector, sentry) as both:
        sentry.answer_next(Answer(status=429, headers={"Retry-After": "5"}))
        both.end("first")
        assert not both.provider.force_flush(60_000)
        assert not both.provider.force_flush(60_000)
        stats = both.sentry.stats()
        assert (stats.requests, stats.failures, stats.queued) == (1, 1, 1)
        wait_until(lambda: names(sentry) == ["first"], seconds=20, what="the span after the limit")
        first, second = (request.monotonic for request in sentry.requests)
        assert second - first >= 5.0


def test_a_sentry_that_hangs_holds_up_neither_the_collector_nor_the_application() -> None:
    """While a request to Sentry gets no answer, all spans go on to the collector at once, and wait for Sentry."""
    # a short delay: where a thread takes part of a batch meanwhile, the rest of the last one waits for that
    with OtlpSink() as collector, OtlpSink() as sentry, Both(collector, sentry, schedule_delay=200) as both:
        both.end("opens the connections")
        assert both.provider.force_flush(60_000)
        sentry.answer = Answer(delay=3.0)
        began, before = time.monotonic(), delays()
        both.end(*range(200))
        assert time.monotonic() - began - held_up(before, delays()) < 2.5
        wait_until(lambda: len(collector.spans) == 201, seconds=10, what="the collector's spans")
        sentry.answer = Answer()
        wait_until(lambda: len(sentry.spans) == 201, seconds=20, what="Sentry's spans")


def test_by_https_many_batches_are_one_packed_request(tmp_path: Path) -> None:
    """Encrypted requests wait a moment for each other, and hold every span once, in order, stamped and packed."""
    certificates, seen = Certificates(tmp_path), list[bytes]()

    def arrived() -> list[str]:
        bodies = [gzip.decompress(request.partition(b"\r\n\r\n")[2]) for request in seen]
        messages = [ExportTraceServiceRequest.FromString(body) for body in bodies]
        return [span.name for message in messages for span in spans_of(message.resource_spans)]

    server = RawServer(keep_answering(OK, seen), certificates.server_context(certificates.server))
    with OtlpSink() as collector, server, Both(collector, server, "https") as both:
        both.sentry._client._tls = Tls(str(certificates.authority))
        both.sentry._gather = 5.0  # a busy machine may need longer than by default until all have ended
        both.end(*range(100))
        wait_until(lambda: len(collector.spans) == 100, seconds=10, what="the collector's spans")
        wait_until(lambda: len(arrived()) == 100, seconds=20, what="Sentry's spans")
        assert arrived() == [str(number) for number in range(100)]
        assert len(seen) <= 3
        assert both.provider.force_flush(60_000)
        both.end("last")
        assert both.provider.force_flush(60_000)
        assert arrived()[-1] == "last"
        assert (both.sentry.stats().sent, both.sentry.stats().failures) == (101, 0)
