"""The encoder's output, read by opentelemetry-proto, is what upstream's encoder makes of the same data."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, Status

from otel_distro.otlp.encode_json import JsonLogEncoder, JsonMetricEncoder, JsonSpanEncoder
from otel_distro.otlp.encode_logs import LogEncoder
from otel_distro.otlp.encode_metrics import MetricEncoder
from otel_distro.otlp.encode_traces import SpanEncoder
from tests.otlp_data import batches, log_records, metrics_data, readable_span, spans

# kept over all examples, as in a process: what was cached for one must not leak into another
SPANS, METRICS, LOGS = SpanEncoder(), MetricEncoder(), LogEncoder()


def read(message_type: Any, body: bytes) -> Any:
    """The body as a message, with fields of no known number refused."""
    message = message_type.FromString(body)
    assert message.SerializeToString(deterministic=True) == message_type.FromString(
        message.SerializeToString()
    ).SerializeToString(deterministic=True)
    return message


def plain(message: Any) -> bytes:
    """A form in which two messages are compared: bytes, because NaN is not equal to NaN."""
    return bytes(message.SerializeToString(deterministic=True))


def without_link_states(message: Any) -> Any:
    """Upstream leaves out the tracestate of links, which trace.proto has a field for; ours sends it."""
    for resource in message.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                for link in span.links:
                    link.ClearField("trace_state")
    return message


def from_json(message_type: Any, body: bytes) -> Any:
    """The message that OTLP/JSON text stands for: ids are hex there, where proto3's own JSON has base64."""

    def fix(node: Any) -> Any:
        if isinstance(node, list):
            return [fix(item) for item in node]
        if not isinstance(node, dict):
            return node
        return {
            key: base64.b64encode(bytes.fromhex(value)).decode()
            if key in {"traceId", "spanId", "parentSpanId"} and isinstance(value, str)
            else fix(value)
            for key, value in node.items()
        }

    return json_format.ParseDict(fix(json.loads(body)), message_type())


@given(batches(spans))
def test_spans_are_what_upstream_encodes(batch: list[Any]) -> None:
    """Any span with legal fields gives the same message as upstream's encoder, grouped alike and in the same order."""
    encoded = SPANS.encode(batch)
    ours = without_link_states(read(ExportTraceServiceRequest, encoded.body))
    assert plain(ours) == plain(encode_spans(batch))
    assert (encoded.items, encoded.lost) == (len(batch), 0)


@given(batches(spans))
def test_upstreams_own_spans_are_what_upstream_encodes(batch: list[Any]) -> None:
    """The same holds for upstream's ReadableSpan, whose attributes went through its own cleaning."""
    readable = [readable_span(span) for span in batch]
    ours = without_link_states(read(ExportTraceServiceRequest, SPANS.encode(readable).body))
    assert plain(ours) == plain(encode_spans(readable))


_FEW = st.dictionaries(st.text(min_size=1), st.text(), max_size=3)


@given(spans(st.none(), st.none()), _FEW, _FEW)
def test_a_span_that_was_never_an_object_is_encoded_like_one(
    span: Any, more: dict[str, str], others: dict[str, str]
) -> None:
    """What is known of a kind of spans beforehand, and the rest at the end, give the bytes' meaning of a whole span."""
    others = {key: value for key, value in others.items() if key not in more}
    told = {**others, **more}
    span.attributes = {key: value for key, value in (span.attributes or {}).items() if key not in told}
    start, end = (time or 0 for time in (span.start_time, span.end_time))
    ids = (span.context.trace_id, span.context.span_id)
    parent = None
    if span.parent is not None:
        # a child is of its parent's trace, and its state is the parent's
        parent = SpanContext(ids[0], span.parent.span_id, span.parent.is_remote, trace_state=span.context.trace_state)
    span.context = SpanContext(*ids, False, trace_state=parent.trace_state if parent else None)
    span.parent, span.start_time, span.end_time = parent, start, end
    span.status, span.events, span.links = Status(), (), ()
    span.dropped_attributes = span.dropped_events = span.dropped_links = 0
    finished, finished_all = SPANS.finisher(span.name, span.kind, span.attributes)
    columns = (map(SPANS.attributes, [{**others, **more}] * 2),)
    for many in finished_all([ids] * 2, [parent] * 2, [start] * 2, [end] * 2, *columns):
        assert sorted(many) == sorted(finished(*ids, parent, start, end, more, SPANS.attributes(others)))
    for _ in range(2):  # the second time what the parent's children have in common is known
        piece = (None, None, finished(*ids, parent, start, end, more, SPANS.attributes(others)))
        brief = read(ExportTraceServiceRequest, SPANS.join([piece]).body).resource_spans[0].scope_spans[0].spans[0]
    span.attributes = {**told, **span.attributes}
    span.resource = span.instrumentation_scope = None
    whole = read(ExportTraceServiceRequest, SPANS.encode([span]).body).resource_spans[0].scope_spans[0].spans[0]
    assert plain(brief) == plain(whole)


@given(batches(spans), batches(spans))
def test_bodies_may_be_joined(first: list[Any], second: list[Any]) -> None:
    """Two encoded chunks put together are one request with the items of both."""
    body = SPANS.encode(first).body + SPANS.encode(second).body
    groups = read(ExportTraceServiceRequest, body).resource_spans
    found = [span.span_id for group in groups for scope in group.scope_spans for span in scope.spans]
    assert sorted(found) == sorted(span.context.span_id.to_bytes(8, "big") for span in first + second)


@given(metrics_data())
def test_metrics_are_what_upstream_encodes(data: Any) -> None:
    """Sums, gauges, histograms of both kinds and exemplars give the same message as upstream's encoder."""
    encoded = METRICS.encode(data)
    assert plain(read(ExportMetricsServiceRequest, encoded.body)) == plain(encode_metrics(data))
    assert encoded.lost == 0


@given(batches(log_records))
def test_log_records_are_what_upstream_encodes(batch: list[Any]) -> None:
    """Any log record with legal fields gives the same message as upstream's encoder."""
    encoded = LOGS.encode(batch)
    assert plain(read(ExportLogsServiceRequest, encoded.body)) == plain(encode_logs(batch))
    assert (encoded.items, encoded.lost) == (len(batch), 0)


@given(batches(spans), metrics_data(), batches(log_records))
def test_json_stands_for_the_same_messages(batch: list[Any], data: Any, records: list[Any]) -> None:
    """OTLP/JSON of all three signals, read by protobuf's own JSON reader, is the message of the binary encoding."""
    cases = (
        (JsonSpanEncoder(), SPANS, batch, ExportTraceServiceRequest),
        (JsonMetricEncoder(), METRICS, data, ExportMetricsServiceRequest),
        (JsonLogEncoder(), LOGS, records, ExportLogsServiceRequest),
    )
    for text, binary, items, message_type in cases:
        ours = text.encode(items)
        assert ours.lost == 0
        assert ours.items == binary.encode(items).items
        # as text, in which every NaN is alike: JSON has one, a double has 2**53
        assert str(from_json(message_type, ours.body)) == str(read(message_type, binary.encode(items).body))


@given(st.lists(batches(spans), max_size=3))
def test_what_is_kept_does_not_change_the_output(several: list[list[Any]]) -> None:
    """An encoder that has seen other data makes the very bytes that a new one makes."""
    used = SpanEncoder()
    for batch in several:
        assert used.encode(batch).body == SpanEncoder().encode(batch).body


def test_spans_of_the_sdk_are_what_upstream_encodes() -> None:
    """Spans that a real tracer made, with an exception, a link and a remote parent, are encoded alike."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("shop", "1.0", attributes={"team": "a"})
    with (
        pytest.raises(ZeroDivisionError),
        tracer.start_as_current_span("work", attributes={"n": 1, "list": ["a", "b"]}),
    ):
        _ = 1 / 0
    finished = memory.get_finished_spans()
    assert plain(read(ExportTraceServiceRequest, SPANS.encode(finished).body)) == plain(encode_spans(finished))
    provider.shutdown()


def test_metrics_of_the_sdk_are_what_upstream_encodes() -> None:
    """What a real reader collects from every kind of instrument is encoded alike."""
    reader = InMemoryMetricReader()
    views = [View(instrument_name="sizes", aggregation=ExponentialBucketHistogramAggregation())]
    provider = MeterProvider([reader], views=views, shutdown_on_exit=False)
    meter = provider.get_meter("shop", "1.0")
    meter.create_counter("requests", unit="1").add(3, {"route": "/a"})
    meter.create_up_down_counter("active").add(-2)
    meter.create_gauge("temperature").set(21.5, {"room": 1})
    for value in (0.1, 3, 250.0, 1e9):
        meter.create_histogram("duration", "s", "how long").record(value, {"route": "/a"})
        meter.create_histogram("sizes").record(value)
    data = reader.get_metrics_data()
    assert data is not None
    encoded = METRICS.encode(data)
    assert plain(read(ExportMetricsServiceRequest, encoded.body)) == plain(encode_metrics(data))
    assert encoded.items == 5
    provider.shutdown()
