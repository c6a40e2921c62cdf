"""Batches for upstream's exporter by gRPC, which is an extra: `tests/integration/test_grpc.py` sends by it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult

from otel_distro.pipeline._grpc import in_parts

REFUSED = 4 * 1024 * 1024


def spans_of(text: str, count: int) -> list[ReadableSpan]:
    """Ended spans with this text among their attributes, in a list of it, and in those of an event."""
    tracer = TracerProvider().get_tracer("t")
    made = []
    for number in range(count):
        span = tracer.start_span(str(number), attributes={"text": text, "texts": [text]})
        span.add_event("e", {"text": text})
        span.end()
        made.append(span)
    return made  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("text", "count"), [("x" * 7_000, 512), ("\u20ac" * 7_000, 512), ("x", 2_048), ("x" * 2_000_000, 3)]
)
def test_no_request_is_larger_than_what_servers_take(text: str, count: int) -> None:
    """Every span is sent once and in order; only one that is too large by itself makes a request that is."""
    sent: list[Sequence[ReadableSpan]] = []

    def export(spans: Sequence[ReadableSpan]) -> SpanExportResult:
        sent.append(spans)
        return SpanExportResult.SUCCESS

    spans = spans_of(text, count)
    assert in_parts(export)(spans) is SpanExportResult.SUCCESS
    assert [span for part in sent for span in part] == spans
    assert all(len(part) == 1 or encode_spans(part).ByteSize() < REFUSED for part in sent)
    assert len(sent) <= max(1, 4 * encode_spans(spans).ByteSize() // 3_000_000 + 1)


def test_one_refused_part_is_a_failure_and_stops_no_other() -> None:
    """What comes behind a part that was refused is sent all the same."""
    results = [SpanExportResult.FAILURE, SpanExportResult.SUCCESS]
    assert in_parts(lambda _: results.pop(0))(spans_of("x" * 1_500_000, 2)) is SpanExportResult.FAILURE
    assert not results
