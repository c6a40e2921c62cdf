"""A meter provider with one reader, for tests that look at what a reader gets."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    InMemoryMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from otel_distro.guard import Guard
from otel_distro.metrics import LeanMeterProvider

DELTA = AggregationTemporality.DELTA


class Setup:
    """A provider with one reader and the lines its guard said."""

    def __init__(self, reader: InMemoryMetricReader | None = None, **options: Any) -> None:
        self.lines: list[str] = []
        self.guard = Guard(output=lambda level, text: self.lines.append(text))
        self.reader = reader or InMemoryMetricReader()
        self.provider = LeanMeterProvider(
            resource=Resource({"service.name": "s"}), guard=self.guard, readers=[self.reader], **options
        )
        self.meter = self.provider.get_meter("scope")

    def metrics(self, reader: InMemoryMetricReader | None = None) -> dict[str, Any]:
        data = (reader or self.reader).get_metrics_data()
        if data is None:
            return {}
        return {m.name: m.data for s in data.resource_metrics[0].scope_metrics for m in s.metrics}

    def values(self, name: str) -> dict[Any, Any]:
        data = self.metrics().get(name)
        points = data.data_points if data else ()
        return {tuple(sorted(p.attributes.items(), key=repr)): getattr(p, "value", None) for p in points}


def span(number: int, *, sampled: bool = True) -> NonRecordingSpan:
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else 0)
    return NonRecordingSpan(SpanContext(number << 64 | 1, number, is_remote=False, trace_flags=flags))
