"""OTLP as JSON (`http/json`): for receivers that cannot read protobuf. Simple before fast.

The mapping is proto3's with OTLP's own exceptions (OTLP specification, "JSON Protobuf Encoding"): ids of traces and
spans are hex, enum values numbers, names lowerCamelCase; 64-bit numbers, NaN and the infinities are text, bytes base64.
Values without an OTLP form are replaced as in protobuf; an item that cannot be read is left out and counted.
"""

from __future__ import annotations

import binascii
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from . import _wire
from ._batch import CHUNK, JSON, Encoded
from ._values import MAX_DEPTH, described, shown, whole_number

Fields = dict[str, Any]


class _JsonEncoder:
    """What the three signals share: grouping, chunks, counting."""

    content_type = JSON
    signal = ""
    _resources, _scopes, _items = "", "", ""

    def encode(self, data: Any, breathe: Callable[[], object] | None = None) -> Encoded:
        """Encode `data` as one request; `breathe` is called after every 64 items."""
        groups: dict[str, dict[str, list[str]]] = {}
        encoded = lost = 0
        for resource, scope, item in self._flat(data):
            try:
                text = json.dumps(self._item(item), separators=(",", ":"), allow_nan=False)
                size = self._size(item)
            except Exception:  # noqa: BLE001 - one bad item must not cost the others
                lost += 1
                continue
            scopes = groups.setdefault(_wrapped("resource", _resource(resource), resource), {})
            scopes.setdefault(_wrapped("scope", _scope(scope), scope), []).append(text)
            if breathe is not None and (encoded + size) // CHUNK != encoded // CHUNK:
                breathe()
            encoded += size
        return Encoded(self._body(groups).encode("ascii"), encoded, lost)

    def _body(self, groups: Mapping[str, Mapping[str, list[str]]]) -> str:
        resources = []
        for resource, scopes in groups.items():
            inner = [f'{{{scope},"{self._items}":[{",".join(items)}]}}' for scope, items in scopes.items()]
            resources.append(f'{{{resource},"{self._scopes}":[{",".join(inner)}]}}')
        return f'{{"{self._resources}":[{",".join(resources)}]}}'

    def _flat(self, data: Any) -> Iterable[tuple[Any, Any, Any]]:
        return ((item.resource, item.instrumentation_scope, item) for item in data)

    def _size(self, item: Any) -> int:
        return 1

    def _item(self, item: Any) -> Fields:
        raise TypeError(f"{type(self).__name__} has no items")


class JsonSpanEncoder(_JsonEncoder):
    """Spans as JSON; fields as `SpanEncoder` writes them."""

    signal = "traces"
    _resources, _scopes, _items = "resourceSpans", "scopeSpans", "spans"

    def _item(self, item: Any) -> Fields:
        context, status = item.context, item.status
        fields: Fields = {
            "traceId": _hex(context.trace_id, 16),
            "spanId": _hex(context.span_id, 8),
            "flags": _flags(item.parent),
            "name": _text(item.name),
            "kind": item.kind.value + 1,
            "startTimeUnixNano": _u64(item.start_time),
            "endTimeUnixNano": _u64(item.end_time),
            "attributes": _private(item.attributes),
            "events": [_event(event) for event in item.events or ()],
            "links": [_link(link) for link in item.links or ()],
            "droppedAttributesCount": _u32(item.dropped_attributes),
            "droppedEventsCount": _u32(item.dropped_events),
            "droppedLinksCount": _u32(item.dropped_links),
            "status": {"code": status.status_code.value, "message": _text(status.description)} if status else None,
            "traceState": _trace_state(context.trace_state),
            "parentSpanId": _hex(item.parent.span_id, 8) if item.parent else None,
        }
        return _without_defaults(fields)


class JsonLogEncoder(_JsonEncoder):
    """Log records as JSON; fields as `LogEncoder` writes them."""

    signal = "logs"
    _resources, _scopes, _items = "resourceLogs", "scopeLogs", "logRecords"

    def _item(self, item: Any) -> Fields:
        record = item.log_record
        fields = {
            "timeUnixNano": _u64(record.timestamp),
            "observedTimeUnixNano": _u64(record.observed_timestamp),
            "severityNumber": getattr(record.severity_number, "value", None),
            "severityText": _text(record.severity_text),
            "attributes": _private(record.attributes),
            "droppedAttributesCount": _u32(item.dropped_attributes),
            "flags": int(record.trace_flags or 0) & _wire.UINT32_MAX,
            "traceId": _hex(record.trace_id, 16) if record.trace_id else None,
            "spanId": _hex(record.span_id, 8) if record.span_id else None,
            "eventName": _text(record.event_name),
        }
        return {**_without_defaults(fields), "body": _any_value(record.body)}


class JsonMetricEncoder(_JsonEncoder):
    """Metrics as JSON; fields as `MetricEncoder` writes them."""

    signal = "metrics"
    _resources, _scopes, _items = "resourceMetrics", "scopeMetrics", "metrics"

    def _flat(self, data: Any) -> Iterable[tuple[Any, Any, Any]]:
        for resource_metrics in data.resource_metrics:
            for scope_metrics in resource_metrics.scope_metrics:
                for metric in scope_metrics.metrics:
                    yield resource_metrics.resource, scope_metrics.scope, metric

    def _size(self, item: Any) -> int:
        return len(item.data.data_points)

    def _item(self, item: Any) -> Fields:
        fields: Fields = _without_defaults(
            {"name": _text(item.name), "description": _text(item.description), "unit": _text(item.unit)}
        )
        kind = type(item.data).__name__
        name, encode = _POINTS[kind]
        if not item.data.data_points:
            return fields
        data: Fields = {"dataPoints": [encode(point) for point in item.data.data_points]}
        if kind != "Gauge":
            data["aggregationTemporality"] = int(item.data.aggregation_temporality)
        if kind == "Sum":
            data["isMonotonic"] = bool(item.data.is_monotonic)
        return {**fields, name: data}


def _gauge_point(point: Any) -> Fields:
    return {
        "attributes": _attributes(point.attributes),
        "timeUnixNano": _u64(point.time_unix_nano),
        "exemplars": [_exemplar(exemplar) for exemplar in point.exemplars or ()],
        **_number(point.value),
    }


def _sum_point(point: Any) -> Fields:
    return {**_gauge_point(point), "startTimeUnixNano": _u64(point.start_time_unix_nano)}


def _distribution(point: Any) -> Fields:
    fields: Fields = {
        "attributes": _attributes(point.attributes),
        "startTimeUnixNano": _u64(point.start_time_unix_nano),
        "timeUnixNano": _u64(point.time_unix_nano),
        "exemplars": [_exemplar(exemplar) for exemplar in point.exemplars or ()],
        "count": _u64(point.count),
    }
    optional = {"sum": point.sum, "min": point.min, "max": point.max}
    return fields | {name: _double(value) for name, value in optional.items() if value is not None}


def _histogram_point(point: Any) -> Fields:
    buckets = {"bucketCounts": [_u64(number) for number in point.bucket_counts]}
    return _distribution(point) | buckets | {"explicitBounds": [_double(bound) for bound in point.explicit_bounds]}


def _exponential_point(point: Any) -> Fields:
    fields = _distribution(point) | {"scale": point.scale, "zeroCount": _u64(point.zero_count)}
    fields["flags"] = _u32(point.flags)
    for name, side in (("positive", point.positive), ("negative", point.negative)):
        if side.bucket_counts:
            counts = [_u64(number) for number in side.bucket_counts]
            fields[name] = {"offset": side.offset, "bucketCounts": counts}
    return fields


_POINTS: Mapping[str, tuple[str, Callable[[Any], Fields]]] = {
    "Sum": ("sum", _sum_point),
    "Gauge": ("gauge", _gauge_point),
    "Histogram": ("histogram", _histogram_point),
    "ExponentialHistogram": ("exponentialHistogram", _exponential_point),
}


def _exemplar(exemplar: Any) -> Fields:
    fields = {
        "filteredAttributes": _attributes(exemplar.filtered_attributes),
        "timeUnixNano": _u64(exemplar.time_unix_nano),
        **_number(exemplar.value),
    }
    if exemplar.span_id is not None and exemplar.trace_id is not None:
        fields |= {"spanId": _hex(exemplar.span_id, 8), "traceId": _hex(exemplar.trace_id, 16)}
    return fields


def _event(event: Any) -> Fields:
    return _without_defaults(
        {
            "timeUnixNano": _u64(event.timestamp),
            "name": _text(event.name),
            "attributes": _private(event.attributes),
            "droppedAttributesCount": _u32(event.dropped_attributes),
        }
    )


def _link(link: Any) -> Fields:
    context = link.context
    return _without_defaults(
        {
            "traceId": _hex(context.trace_id, 16),
            "spanId": _hex(context.span_id, 8),
            "traceState": _trace_state(context.trace_state),
            "attributes": _private(link.attributes),
            "droppedAttributesCount": _u32(link.dropped_attributes),
            "flags": _flags(context),
        }
    )


def _flags(context: Any) -> int:
    return 0x300 if context and context.is_remote else 0x100


def _trace_state(state: Any) -> str:
    return _text(",".join([f"{key}={value}" for key, value in state.items()])) if state else ""


def _resource(resource: Any) -> Fields:
    return {"attributes": _attributes(resource.attributes if resource is not None else None)}


def _scope(scope: Any) -> Fields:
    if scope is None:
        return {}
    fields = {"name": _text(scope.name), "version": _text(scope.version), "attributes": _attributes(scope.attributes)}
    return _without_defaults(fields)


def _wrapped(name: str, fields: Fields, thing: Any) -> str:
    """`"resource":{...},"schemaUrl":"..."`, without the braces around."""
    schema = _text(getattr(thing, "schema_url", None))
    wrapped = {name: fields, "schemaUrl": schema} if schema else {name: fields}
    return json.dumps(wrapped, separators=(",", ":"), allow_nan=False)[1:-1]


def _attributes(attributes: Any) -> list[Fields]:
    return [{"key": _text(key), "value": _any_value(value)} for key, value in (attributes or {}).items()]


def _private(attributes: Any) -> list[Fields]:
    """Attributes of a span, an event, a link or a record, whose values may be secrets."""
    return [{"key": _text(key), "value": _any_value(shown(key, value))} for key, value in (attributes or {}).items()]


def _any_value(value: Any, depth: int = 0) -> Fields:
    try:
        return _known_value(value, depth)
    except Exception:  # noqa: BLE001 - sequences and mappings of the application's may raise anything
        return {"stringValue": _text(described(value))}


def _known_value(value: Any, depth: int) -> Fields:  # noqa: PLR0911 - one line a type
    if value is None:
        return {}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, str):
        return {"stringValue": _text(value)}
    if isinstance(value, int):
        within = _wire.INT64_MIN <= value <= _wire.INT64_MAX
        return {"intValue": str(int(value))} if within else {"stringValue": whole_number(value)}
    if isinstance(value, float):
        return {"doubleValue": _double(value)}
    if isinstance(value, bytes):
        return {"bytesValue": binascii.b2a_base64(value, newline=False).decode()}
    if depth < MAX_DEPTH:
        if isinstance(value, Sequence):
            return {"arrayValue": {"values": [_any_value(item, depth + 1) for item in value]}}
        if isinstance(value, Mapping):
            pairs = [{"key": _text(str(key)), "value": _any_value(item, depth + 1)} for key, item in value.items()]
            return {"kvlistValue": {"values": pairs}}
    return {"stringValue": _text(described(value))}


def _number(value: Any) -> Fields:
    if isinstance(value, int) and _wire.INT64_MIN <= value <= _wire.INT64_MAX:
        return {"asInt": str(int(value))}
    return {"asDouble": _double(value)}


def _double(value: Any) -> float | str:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf if value > 0 else -math.inf
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _text(text: Any) -> str:
    return "" if text is None else _wire.utf8(text if isinstance(text, str) else str(text)).decode()


def _hex(number: int, length: int) -> str:
    return f"{number & (1 << 8 * length) - 1:0{2 * length}x}"


def _u64(number: Any) -> str:
    return str(min(max(int(number or 0), 0), _wire.UINT64_MAX))


def _u32(number: Any) -> int:
    return min(max(int(number or 0), 0), _wire.UINT32_MAX)


def _without_defaults(fields: Fields) -> Fields:
    return {name: value for name, value in fields.items() if value not in (None, "", 0, [])}
