"""Telemetry of one test, kept in memory: a lean pipeline, a toolbox for an instrumentation, and what they recorded."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

from otel_distro import sampling, settings
from otel_distro.guard import Guard
from otel_distro.instrumentation.base import Instrumentation, Toolbox
from otel_distro.instrumentation.table import OURS
from otel_distro.ledger import Ledger
from otel_distro.metrics import LeanMeterProvider
from otel_distro.otlp.encode_traces import SpanEncoder
from otel_distro.tracing import LeanTracerProvider

Point = tuple[Mapping[str, Any], Any]
_NO_RESOURCE = Resource({})


class TakingBrief(SimpleSpanProcessor):
    """Takes spans that were never an object, as the OTLP exporter's queue does, and makes them one for the test."""

    # upstream's do nothing either, but in methods of their own, as if they wanted to see each span as it starts
    on_start = SpanProcessor.on_start
    _on_ending = SpanProcessor._on_ending

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        super().__init__(exporter)
        self.span_encoder: Any = ReadableEncoder()
        self.errors: list[BaseException] = []
        self.ledger = Ledger(self._take_all, lambda error, _: self.errors.append(error))

    def settle(self) -> None:
        """Make spans of what has ended."""
        self.ledger.drain()
        assert not self.errors

    def _take_all(self, pieces: Sequence[Any]) -> None:
        for piece in pieces:
            self.take(piece)

    def take(self, piece: tuple[Resource, InstrumentationScope, ReadableSpan]) -> None:
        """Keep it."""
        resource, scope, bare = piece
        made = ReadableSpan(
            bare.name,
            bare.context,
            bare.parent,
            resource,
            bare.attributes,
            kind=bare.kind,
            instrumentation_scope=scope,
            start_time=bare.start_time,
            end_time=bare.end_time,
        )
        self.span_exporter.export((made,))


class ReadableEncoder(SpanEncoder):
    """Makes objects of spans instead of bytes; attributes that it is given as bytes it has encoded itself."""

    def finisher(  # type: ignore[override]  # what can be read instead of bytes
        self, name: str, kind: SpanKind, attributes: Mapping[str, Any]
    ) -> tuple[Callable[..., ReadableSpan], Callable[..., list[ReadableSpan]]]:
        """Makes what can be read of such a span, or of many."""

        def finished(  # noqa: PLR0917 - the encoder's
            trace_id: int,
            span_id: int,
            parent: SpanContext | None,
            start: int,
            end: int,
            more: Mapping[str, Any],
            others: bytes = b"",
        ) -> ReadableSpan:
            flags = TraceFlags(TraceFlags.SAMPLED | (parent.trace_flags if parent else TraceFlags.RANDOM_TRACE_ID))
            context = SpanContext(trace_id, span_id, False, flags, parent.trace_state if parent else None)
            pairs = Span.FromString(others).attributes
            told = {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in pairs}
            attributes_of_it = {**told, **more, **attributes}
            # without a resource each would ask all detectors for one, in a thread of its own
            return ReadableSpan(
                name, context, parent, _NO_RESOURCE, attributes_of_it, kind=kind, start_time=start, end_time=end
            )

        def finished_all(ids: Any, parents: Any, starts: Any, ends: Any, *others: Any) -> list[ReadableSpan]:
            rows = zip(ids, parents, starts, ends, map(b"".join, zip(*others, strict=True)), strict=True)
            return [finished(*its[:2], parent, start, end, {}, told) for its, parent, start, end, told in rows]

        return finished, finished_all

    def piece(self, span: Any) -> Any:
        """Itself."""
        return span.resource, span.instrumentation_scope, span


def named(spans: Iterable[ReadableSpan]) -> dict[str, ReadableSpan]:
    """Spans by their names, each of which one alone has."""
    spans = list(spans)
    found = {span.name: span for span in spans}
    assert len(found) == len(spans)
    return found


class Recording:
    """A lean tracer and meter provider whose output stays here.

    Args:
        environ: environment variables the settings are parsed from.
        sampler: by its specified name.
        brief: spans that nobody can see before they have ended are never an object.
    """

    def __init__(
        self, environ: Mapping[str, str] | None = None, sampler: str = "parentbased_always_on", *, brief: bool = False
    ) -> None:
        self.lines: list[str] = []
        self.guard = Guard(level=logging.INFO, output=lambda _level, text: self.lines.append(text))
        parsed, _ = settings.parse(environ or {})
        resource = Resource({"service.name": "test"})
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracer_provider = LeanTracerProvider(
            resource=resource,
            sampler=sampling.build(sampler),
            limits=parsed.traces.limits,
            guard=self.guard,
        )
        processor = (TakingBrief if brief else SimpleSpanProcessor)(self._exporter)
        self.tracer_provider.add_span_processor(processor)
        self._settle = processor.settle if isinstance(processor, TakingBrief) else lambda: None
        self.meter_provider = LeanMeterProvider(resource=resource, guard=self.guard, readers=[self._reader])
        self.meter_provider.settle_before_reading(self._settle)
        self.toolbox = Toolbox(self.tracer_provider, self.meter_provider, parsed.instrumentation, self.guard)

    @property
    def spans(self) -> list[ReadableSpan]:
        """Ended spans, the first to end first by the wall clock, which may be set while a test runs: see `named`."""
        self._settle()
        # those that waited were made spans after others that had ended later
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.end_time or 0)

    def one(self) -> ReadableSpan:
        """The only span."""
        (span,) = self.spans
        return span

    def take(self) -> list[ReadableSpan]:
        """Ended spans, which are then forgotten."""
        spans = self.spans
        self._exporter.clear()
        return spans

    def points(self, metric: str) -> list[Point]:
        """Attributes and count (histograms) or value (others) of every series of a metric."""
        data = self._reader.get_metrics_data()
        found: list[Point] = []
        for group in data.resource_metrics if data else ():
            for scope in group.scope_metrics:
                for each in scope.metrics:
                    if each.name == metric:
                        found += [(dict(p.attributes or {}), getattr(p, "count", None) or getattr(p, "value", None))
                                  for p in each.data.data_points]  # fmt: skip
        return found

    @property
    def failures(self) -> list[str]:
        """Parts of the distro that failed, with the first reason."""
        return [f"{failure.part}: {failure.reason}" for failure in self.guard.failures]


@contextmanager
def recorded(kind: type[Instrumentation], *, brief: bool = False) -> Iterator[Recording]:
    """What the library of `kind` records, instrumented for the length of the block; nothing of ours may have failed."""
    recording = Recording(brief=brief)
    with instrumented(kind, recording):
        yield recording
    assert recording.failures == []


def library_of(kind: type[Instrumentation]) -> ModuleType:
    """The library that an instrumentation is for, imported."""
    return next(importlib.import_module(own.modules[0]) for own in OURS if own.name == kind.name)


@contextmanager
def instrumented(kind: type[Instrumentation], recording: Recording) -> Iterator[Any]:
    """The library of `kind`, instrumented for the length of the block."""
    instrumentation = kind(recording.toolbox)
    instrumentation.instrument(library_of(kind))
    try:
        yield instrumentation
    finally:
        instrumentation.uninstrument()
