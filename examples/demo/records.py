"""Spans as they come over the wire, in the shape that the trace tree draws."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

_HAS_IS_REMOTE, _IS_REMOTE = 0x100, 0x200  # opentelemetry-proto, SpanFlags
_KINDS = {
    Span.SPAN_KIND_SERVER: SpanKind.SERVER,
    Span.SPAN_KIND_CLIENT: SpanKind.CLIENT,
    Span.SPAN_KIND_PRODUCER: SpanKind.PRODUCER,
    Span.SPAN_KIND_CONSUMER: SpanKind.CONSUMER,
}


@dataclass(frozen=True, slots=True)
class Source:
    """Where a span comes from."""

    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An event of a span."""

    name: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """A span that arrived; times are in nanoseconds since the epoch."""

    name: str
    context: SpanContext
    parent: SpanContext | None
    kind: SpanKind
    start_time: int
    end_time: int
    status: Status
    attributes: Mapping[str, Any]
    events: tuple[EventRecord, ...]
    resource: Source


def decode(body: bytes) -> list[SpanRecord]:
    """The spans of an OTLP request in protobuf.

    Raises:
        google.protobuf.message.DecodeError: the body is something else.
    """
    return list(_spans(ExportTraceServiceRequest.FromString(body)))


def _spans(request: ExportTraceServiceRequest) -> Iterator[SpanRecord]:
    for group in request.resource_spans:
        source = Source(_attributes(group.resource.attributes))
        for scope in group.scope_spans:
            for span in scope.spans:
                yield _record(span, source)


def _record(span: Span, source: Source) -> SpanRecord:
    trace_id = int.from_bytes(span.trace_id, "big")
    parent = None
    if span.parent_span_id:
        remote = bool(span.flags & _HAS_IS_REMOTE and span.flags & _IS_REMOTE)
        parent = SpanContext(trace_id, int.from_bytes(span.parent_span_id, "big"), is_remote=remote)
    flags = TraceFlags(span.flags & 0xFF)
    code = StatusCode(span.status.code)
    return SpanRecord(
        name=span.name,
        context=SpanContext(trace_id, int.from_bytes(span.span_id, "big"), is_remote=False, trace_flags=flags),
        parent=parent,
        kind=_KINDS.get(span.kind, SpanKind.INTERNAL),
        start_time=span.start_time_unix_nano,
        end_time=span.end_time_unix_nano,
        status=Status(code, span.status.message if code is StatusCode.ERROR else None),
        attributes=_attributes(span.attributes),
        events=tuple(EventRecord(event.name, _attributes(event.attributes)) for event in span.events),
        resource=source,
    )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    """A plain value; arrays and maps, which the tree does not look into, as text."""
    which = value.WhichOneof("value")
    if which is None or which in {"array_value", "kvlist_value"}:
        return str(value).strip()
    return getattr(value, which)
