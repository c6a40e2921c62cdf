"""Collected metrics as an OTLP `ExportMetricsServiceRequest`, without protobuf objects (metrics.proto)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from otel_distro.guard import let_through

from . import _wire
from ._batch import CHUNK, PROTOBUF, Encoded
from ._groups import Envelopes, Groups
from ._values import KeyValues
from ._wire import delimited, double, fixed64, text_field, varint, zigzag

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import (
        ExponentialHistogram,
        ExponentialHistogramDataPoint,
        Histogram,
        HistogramDataPoint,
        Metric,
        MetricsData,
        NumberDataPoint,
        Sum,
    )

Point = Callable[[Any], bytes]


class MetricEncoder:
    """Encodes upstream's `MetricsData`.

    Equal to what opentelemetry-exporter-otlp-proto-common 1.45.1 makes. Where that raises and so loses everything that
    was collected, a whole number outside int64 becomes a double, a count or time outside its range the nearest
    possible, and a point that cannot be encoded is left out and counted. What is kept between calls is bounded.
    """

    signal = "metrics"
    content_type = PROTOBUF

    def __init__(self) -> None:
        self._number_attributes = KeyValues(b"\x3a")
        self._histogram_attributes = KeyValues(b"\x4a")
        self._exponential_attributes = KeyValues(b"\x0a")
        self._exemplar_attributes = KeyValues(b"\x3a")
        self._envelopes = Envelopes()

    def encode(self, data: MetricsData, breathe: Callable[[], object] | None = None) -> Encoded:
        """Encode `data` as one request; `breathe` is called after every 64 points."""
        groups = Groups(self._envelopes)
        count = Count(breathe)
        for resource_metrics in data.resource_metrics:
            for scope_metrics in resource_metrics.scope_metrics:
                items = groups.items(resource_metrics.resource, scope_metrics.scope)
                items += [self._metric(metric, count) for metric in scope_metrics.metrics]
        return Encoded(groups.body(), count.encoded, count.lost)

    def _metric(self, metric: Metric, count: Count) -> bytes:
        # late: whoever has data has imported it
        from opentelemetry.sdk.metrics.export import ExponentialHistogram, Gauge, Histogram, Sum

        parts = [text_field(b"\x0a", metric.name), text_field(b"\x12", metric.description)]
        parts.append(text_field(b"\x1a", metric.unit))
        data = metric.data
        if isinstance(data, Sum):
            tail = _temporality(data) + (b"\x18\x01" if data.is_monotonic else b"")
            parts.append(_data(b"\x3a", data.data_points, self._sum_point, tail, count))
        elif isinstance(data, Gauge):
            parts.append(_data(b"\x2a", data.data_points, self._gauge_point, b"", count))
        elif isinstance(data, Histogram):
            parts.append(_data(b"\x4a", data.data_points, self._histogram_point, _temporality(data), count))
        elif isinstance(data, ExponentialHistogram):
            parts.append(_data(b"\x52", data.data_points, self._exponential_point, _temporality(data), count))
        return delimited(b"\x12", b"".join(parts))

    def _gauge_point(self, point: NumberDataPoint) -> bytes:
        # as upstream: a gauge has no start time
        payload = self._number_attributes.encoded(point.attributes) + b"\x19" + fixed64(point.time_unix_nano)
        return payload + _number(b"\x31", b"\x21", point.value) + self._exemplars(b"\x2a", point.exemplars)

    def _sum_point(self, point: NumberDataPoint) -> bytes:
        start = b"\x11" + fixed64(point.start_time_unix_nano) if point.start_time_unix_nano else b""
        return start + self._gauge_point(point)

    def _histogram_point(self, point: HistogramDataPoint) -> bytes:
        buckets = b"".join([fixed64(number) for number in point.bucket_counts])
        bounds = struct.pack(f"<{len(point.explicit_bounds)}d", *point.explicit_bounds)
        payload = self._histogram_attributes.encoded(point.attributes) + _times(point)
        payload += b"\x21" + fixed64(point.count) + _optional(b"\x29", point.sum)
        payload += delimited(b"\x32", buckets) + delimited(b"\x3a", bounds)
        payload += _optional(b"\x59", point.min) + _optional(b"\x61", point.max)
        return payload + self._exemplars(b"\x42", point.exemplars)

    def _exponential_point(self, point: ExponentialHistogramDataPoint) -> bytes:
        payload = self._exponential_attributes.encoded(point.attributes) + _times(point)
        payload += b"\x21" + fixed64(point.count) + _optional(b"\x29", point.sum)
        payload += b"\x30" + zigzag(point.scale) + b"\x39" + fixed64(point.zero_count)
        payload += _buckets(b"\x42", point.positive) + _buckets(b"\x4a", point.negative)
        payload += _wire.count_field(b"\x50", point.flags)
        payload += _optional(b"\x61", point.min) + _optional(b"\x69", point.max)
        return payload + self._exemplars(b"\x5a", point.exemplars)

    def _exemplars(self, tag: bytes, exemplars: Sequence[Any]) -> bytes:
        return b"".join([delimited(tag, self._exemplar(exemplar)) for exemplar in exemplars]) if exemplars else b""

    def _exemplar(self, exemplar: Any) -> bytes:
        payload = self._exemplar_attributes.encoded(exemplar.filtered_attributes)
        payload += b"\x11" + fixed64(exemplar.time_unix_nano) + _number(b"\x31", b"\x19", exemplar.value)
        if exemplar.span_id is not None and exemplar.trace_id is not None:
            payload += b"\x22\x08" + exemplar.span_id.to_bytes(8, "big")
            payload += b"\x2a\x10" + exemplar.trace_id.to_bytes(16, "big")
        return payload


class Count:
    """Counts points while they are encoded, and lets other threads run after every 64 of them."""

    __slots__ = ("_breathe", "encoded", "lost")

    def __init__(self, breathe: Callable[[], object] | None) -> None:
        self.encoded = 0
        self.lost = 0
        self._breathe = breathe

    def one(self) -> None:
        """A point was encoded."""
        self.encoded += 1
        if self._breathe is not None and not self.encoded % CHUNK:
            self._breathe()


def _data(tag: bytes, points: Sequence[Any], encode: Point, tail: bytes, count: Count) -> bytes:
    """The `gauge`, `sum`, ... field of a metric; empty without points, as upstream."""
    encoded = []
    for point in points:
        try:
            encoded.append(delimited(b"\x0a", encode(point)))
            count.one()
        except Exception as raised:  # noqa: BLE001 - one bad point must not cost the others
            let_through(raised)
            count.lost += 1
    return delimited(tag, b"".join(encoded) + tail) if encoded else b""


def _temporality(data: Sum | Histogram | ExponentialHistogram) -> bytes:
    return b"\x10" + varint(int(data.aggregation_temporality))


def _times(point: HistogramDataPoint | ExponentialHistogramDataPoint) -> bytes:
    return b"\x11" + fixed64(point.start_time_unix_nano or 0) + b"\x19" + fixed64(point.time_unix_nano or 0)


def _number(int_tag: bytes, double_tag: bytes, value: float) -> bytes:
    if isinstance(value, int):
        if _wire.INT64_MIN <= value <= _wire.INT64_MAX:
            return int_tag + _wire.sfixed64(value)
        return double_tag + double(as_double(value))
    return double_tag + double(value)


def as_double(value: int) -> float:
    """A whole number as a double; beyond its range an infinity of the same sign."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _optional(tag: bytes, value: float | None) -> bytes:
    if value is None:
        return b""
    return tag + double(as_double(value) if isinstance(value, int) else value)


def _buckets(tag: bytes, buckets: Any) -> bytes:
    if not buckets.bucket_counts:
        return b""
    counts = b"".join([varint(min(max(number, 0), _wire.UINT64_MAX)) for number in buckets.bucket_counts])
    return delimited(tag, b"\x08" + zigzag(buckets.offset) + delimited(b"\x12", counts))
