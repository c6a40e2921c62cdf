"""What tests look at, whatever carried it: one record type each for spans, metric points and log records.

Made from OTLP protobuf messages (the sink) and from OTLP JSON in the two dialects of Jaeger and Tempo.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.logs.v1.logs_pb2 import ResourceLogs
    from opentelemetry.proto.metrics.v1.metrics_pb2 import Exemplar, Metric, ResourceMetrics
    from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

    Attributes = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """One event of a span; the time is in nanoseconds since the epoch."""

    name: str
    time_unix_nano: int
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """One span as a backend or the sink shows it.

    Ids are lower-case hex, `parent_span_id` is empty for a root; `kind` is `SERVER`, `CLIENT`...; `status` is `UNSET`,
    `OK` or `ERROR`; times are in nanoseconds since the epoch.
    """

    trace_id: str
    span_id: str
    parent_span_id: str
    service: str
    name: str
    kind: str
    status: str
    status_message: str
    attributes: Attributes
    events: tuple[SpanEvent, ...]
    links: tuple[str, ...]  # span ids
    start_unix_nano: int
    end_unix_nano: int
    resource: Attributes
    scope: str


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """One data point. `value` is the number of a sum or gauge, the sum of a histogram.

    `count` and `buckets` (upper bound to cumulative count) belong to histograms; `exemplars` are (value, trace id).
    """

    name: str
    unit: str
    type: str  # sum, gauge, histogram, exponential_histogram
    resource: Attributes
    attributes: Attributes
    value: float
    count: int
    buckets: Mapping[float, int]
    exemplars: tuple[tuple[float, str], ...]
    start_unix_nano: int
    time_unix_nano: int
    temporality: int  # AggregationTemporality: 1 delta, 2 cumulative, 0 for gauges


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One log record; ids are empty where it belongs to no span."""

    body: Any
    severity: str
    severity_number: int
    attributes: Attributes
    resource: Attributes
    trace_id: str
    span_id: str
    event_name: str
    time_unix_nano: int


def spans_of(groups: Iterable[ResourceSpans]) -> Iterator[SpanRecord]:
    """Spans of OTLP protobuf messages, in their order."""
    for group in groups:
        resource = _attributes(group.resource.attributes)
        for scope in group.scope_spans:
            for span in scope.spans:
                yield SpanRecord(
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_span_id=span.parent_span_id.hex(),
                    service=str(resource.get("service.name", "")),
                    name=span.name,
                    kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                    status=Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
                    status_message=span.status.message,
                    attributes=_attributes(span.attributes),
                    events=tuple(
                        SpanEvent(event.name, event.time_unix_nano, _attributes(event.attributes))
                        for event in span.events
                    ),
                    links=tuple(link.span_id.hex() for link in span.links),
                    start_unix_nano=span.start_time_unix_nano,
                    end_unix_nano=span.end_time_unix_nano,
                    resource=resource,
                    scope=scope.scope.name,
                )


def spans_of_json(groups: Iterable[Mapping[str, Any]]) -> Iterator[SpanRecord]:
    """Spans of the `resourceSpans` of OTLP JSON: ids in hex (Jaeger) or base64 (Tempo), enums as numbers or names."""
    for group in groups:
        resource = _json_attributes(group.get("resource", {}))
        for scope in group.get("scopeSpans", ()):
            for span in scope.get("spans", ()):
                status = span.get("status", {})
                yield SpanRecord(
                    trace_id=_hex(span["traceId"], 16),
                    span_id=_hex(span["spanId"], 8),
                    parent_span_id=_hex(span.get("parentSpanId", ""), 8),
                    service=str(resource.get("service.name", "")),
                    name=span.get("name", ""),
                    kind=_enum(span.get("kind", 0), Span.SpanKind, "SPAN_KIND_"),
                    status=_enum(status.get("code", 0), Status.StatusCode, "STATUS_CODE_"),
                    status_message=status.get("message", ""),
                    attributes=_json_attributes(span),
                    events=tuple(
                        SpanEvent(event.get("name", ""), int(event.get("timeUnixNano", 0)), _json_attributes(event))
                        for event in span.get("events", ())
                    ),
                    links=tuple(_hex(link["spanId"], 8) for link in span.get("links", ())),
                    start_unix_nano=int(span["startTimeUnixNano"]),
                    end_unix_nano=int(span["endTimeUnixNano"]),
                    resource=resource,
                    scope=scope.get("scope", {}).get("name", ""),
                )


def points_of(groups: Iterable[ResourceMetrics]) -> Iterator[MetricPoint]:
    """Data points of OTLP protobuf messages, in their order."""
    for group in groups:
        resource = _attributes(group.resource.attributes)
        for scope in group.scope_metrics:
            for metric in scope.metrics:
                yield from _points(metric, resource)


def logs_of(groups: Iterable[ResourceLogs]) -> Iterator[LogEntry]:
    """Log records of OTLP protobuf messages, in their order."""
    for group in groups:
        resource = _attributes(group.resource.attributes)
        for scope in group.scope_logs:
            for record in scope.log_records:
                yield LogEntry(
                    body=_value(record.body),
                    severity=record.severity_text,
                    severity_number=record.severity_number,
                    attributes=_attributes(record.attributes),
                    resource=resource,
                    trace_id=record.trace_id.hex(),
                    span_id=record.span_id.hex(),
                    event_name=record.event_name,
                    time_unix_nano=record.time_unix_nano,
                )


def _points(metric: Metric, resource: Attributes) -> Iterator[MetricPoint]:
    """Data points of one metric; a summary has none here, for no SDK makes it."""
    kind = metric.WhichOneof("data")
    if kind is None or kind == "summary":
        return
    data = getattr(metric, kind)
    for point in data.data_points:
        histogram = "histogram" in kind
        number = point.sum if histogram else getattr(point, point.WhichOneof("value") or "as_double")
        yield MetricPoint(
            name=metric.name,
            unit=metric.unit,
            type=kind,
            resource=resource,
            attributes=_attributes(point.attributes),
            value=number,
            count=point.count if histogram else 0,
            buckets=_buckets(point.explicit_bounds, point.bucket_counts) if kind == "histogram" else {},
            exemplars=tuple(_exemplar(exemplar) for exemplar in point.exemplars),
            start_unix_nano=point.start_time_unix_nano,
            time_unix_nano=point.time_unix_nano,
            temporality=0 if kind == "gauge" else data.aggregation_temporality,
        )


def _buckets(bounds: Iterable[float], counts: Iterable[int]) -> dict[float, int]:
    """Upper bound to the count of all values at or below it, as Prometheus shows it."""
    total = 0
    result = {}
    for bound, count in zip([*bounds, float("inf")], counts, strict=False):
        total += count
        result[bound] = total
    return result


def _exemplar(exemplar: Exemplar) -> tuple[float, str]:
    return getattr(exemplar, exemplar.WhichOneof("value") or "as_double"), exemplar.trace_id.hex()


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    """Python value of an AnyValue; None when it is empty."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return getattr(value, kind)


def _json_attributes(owner: Mapping[str, Any]) -> dict[str, Any]:
    return {pair["key"]: _json_value(pair.get("value", {})) for pair in owner.get("attributes", ())}


def _json_value(value: Mapping[str, Any]) -> Any:
    """Python value of a JSON AnyValue: 64-bit integers come as strings, bytes as base64."""
    for kind, content in value.items():
        return _JSON_VALUES[kind](content)
    return None


_JSON_VALUES: Mapping[str, Callable[[Any], Any]] = {
    "stringValue": str,
    "boolValue": bool,
    "intValue": int,
    "doubleValue": float,
    "bytesValue": base64.b64decode,
    "arrayValue": lambda content: [_json_value(item) for item in content.get("values", ())],
    "kvlistValue": lambda content: {
        pair["key"]: _json_value(pair.get("value", {})) for pair in content.get("values", ())
    },
}


def _hex(text: str, size: int) -> str:
    """Lower-case hex of an id of `size` bytes given in hex or base64; empty, or all zero, is no id."""
    if not text:
        return ""
    raw = bytes.fromhex(text) if len(text) == 2 * size else base64.b64decode(text)
    return raw.hex() if any(raw) else ""


def _enum(value: int | str, enum: Any, prefix: str) -> str:
    """Name without its prefix of an enum given by number or by name."""
    name: str = value if isinstance(value, str) else enum.Name(value)
    return name.removeprefix(prefix)
