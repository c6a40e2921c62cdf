"""What the tests of tracing share: a provider whose spans are collected, and exporters that behave as told."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Sampler

from otel_distro import sampling, settings
from otel_distro.guard import Guard
from otel_distro.tracing import LeanTracerProvider
from otel_distro.tracing.batch import BatchQueue

RESOURCE = Resource({"service.name": "rig"})


class Lines:
    """A guard and the lines it said."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.guard = Guard(output=lambda _, text: self.lines.append(text))


class Collected(SpanProcessor):
    """Keeps what ended, in order."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


def provider(
    *processors: SpanProcessor, sampler: Sampler | None = None, guard: Guard | None = None, **more: Any
) -> LeanTracerProvider:
    """A lean provider with these processors; `limits` may be given as a mapping."""
    made = LeanTracerProvider(
        resource=RESOURCE,
        sampler=sampler or sampling.build("parentbased_always_on"),
        limits=settings.Limits(**more.pop("limits", {})),
        guard=guard or Guard(output=lambda _, __: None),
        **more,
    )
    for processor in processors:
        made.add_span_processor(processor)
    return made


class Recorder(SpanExporter):
    """An exporter that keeps its calls; `answer` is returned, or raised if it is an exception."""

    def __init__(self, answer: Any = SpanExportResult.SUCCESS) -> None:
        self.answer = answer
        self.calls: list[Sequence[ReadableSpan]] = []
        self.threads: set[str] = set()
        self.flushed = 0
        self.ended = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.threads.add(threading.current_thread().name)
        self.calls.append(spans)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        self.flushed += 1
        return True

    def shutdown(self) -> None:
        self.ended.set()

    @property
    def names(self) -> list[str]:
        """Names of all spans that were exported."""
        return [span.name for call in self.calls for span in call]


def end_spans(made: SpanProcessor, count: int) -> None:
    """End that many spans of a provider with this processor, named by number."""
    tracer = provider(made).get_tracer("t")
    for number in range(count):
        tracer.start_span(str(number)).end()


class Stuck(Recorder):
    """An exporter whose export blocks until `released`; its shutdown releases it if `interruptible`."""

    def __init__(self, *, interruptible: bool) -> None:
        super().__init__()
        self.interruptible = interruptible
        self.inside = threading.Event()
        self.released = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.inside.set()
        self.released.wait()
        super().export(spans)
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        super().shutdown()
        if self.interruptible:
            self.released.set()


def queue(exporter: SpanExporter, guard: Guard | None = None, *, slice_size: int = 64, **batch: int) -> BatchQueue:
    """A queue that exports only when it is told or full, unless a `schedule_delay` says otherwise."""
    return BatchQueue(
        exporter,
        batch=settings.Batch(**{"schedule_delay": 3_600_000, **batch}),
        guard=guard or Guard(output=lambda _, __: None),
        name="rig",
        slice_size=slice_size,
    )
