"""Processors: one directly, several each guarded, and an end that nobody can hold up."""

from __future__ import annotations

import threading
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.tracing_rig import Collected, Lines, Recorder, provider, queue


class Raising(SpanProcessor):
    """Raises wherever it can."""

    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        raise ValueError("start")

    def _on_ending(self, span: Any) -> None:
        raise ValueError("ending")

    def on_end(self, span: ReadableSpan) -> None:
        raise ValueError("end")

    def shutdown(self) -> None:
        raise ValueError("shutdown")

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        raise ValueError("flush")


def test_a_provider_is_the_sdks_to_who_asks() -> None:
    """It passes for the SDK's provider."""
    assert isinstance(provider(), TracerProvider)


def test_the_only_processor_is_called_directly() -> None:
    """With one processor nothing stands between a span's end and its `on_end`."""
    collected = Collected()
    traced = provider(collected)
    assert traced.pipeline.ends == collected.on_end
    assert traced.pipeline.starts is None


def test_a_processor_that_raises_stops_nobody() -> None:
    """What one processor raises reaches neither the application nor the next processor (python #5624)."""
    lines, collected = Lines(), Collected()
    traced = provider(Raising(), collected, guard=lines.guard)
    with traced.get_tracer("t").start_as_current_span("s"):
        pass
    assert [span.name for span in collected.spans] == ["s"]
    assert traced.force_flush(1000) is False
    traced.shutdown()
    (start, flush, shutdown) = lines.guard.failures
    assert (start.part, start.count) == ("span processor Raising", 3)
    assert (flush.part, flush.count) == ("span processor Raising.force_flush", 1)
    assert (shutdown.part, shutdown.count) == ("span processor Raising.shutdown", 1)


def test_the_only_processor_may_raise_as_well() -> None:
    """The direct call is guarded too."""

    class RaisingAtEnd(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            raise ValueError("end")

    lines = Lines()
    provider(RaisingAtEnd(), guard=lines.guard).get_tracer("t").start_span("s").end()
    assert [failure.part for failure in lines.guard.failures] == ["span processor RaisingAtEnd"]


def test_only_who_overrides_on_start_is_called_at_a_start() -> None:
    """A processor without an `on_start` of its own costs a start nothing; with one it may change the span."""

    class Stamp(SpanProcessor):
        def on_start(self, span: Span, parent_context: Context | None = None) -> None:
            span.set_attribute("stamp", parent_context is None)

    collected = Collected()
    traced = provider(collected, Stamp())
    traced.get_tracer("t").start_span("s").end()
    traced.get_tracer("t").start_span("s", Context()).end()
    assert [span.attributes for span in collected.spans] == [{"stamp": True}, {"stamp": False}]


def test_upstreams_processors_and_exporters_plug_in() -> None:
    """Upstream's simple and batch processors export our spans as they export their own."""
    simple, batch = InMemorySpanExporter(), InMemorySpanExporter()
    traced = provider(SimpleSpanProcessor(simple), BatchSpanProcessor(batch))
    traced.get_tracer("t").start_span("s").end()
    assert traced.force_flush()
    traced.shutdown(10_000)
    assert [span.name for span in (*simple.get_finished_spans(), *batch.get_finished_spans())] == ["s", "s"]


def test_a_hanging_processor_does_not_hold_up_the_others() -> None:
    """All are flushed and shut down at once: one that hangs costs the time given and is named, the others are done."""

    class Hanging(SpanProcessor):
        def force_flush(self, timeout_millis: int = 30000) -> bool:
            return released.wait()

        def shutdown(self) -> None:
            released.wait()

    released = threading.Event()
    lines, exporter = Lines(), Recorder()
    traced = provider(Hanging(), queue(exporter), guard=lines.guard)
    traced.get_tracer("t").start_span("s").end()
    try:
        assert traced.force_flush(200) is False
        assert exporter.names == ["s"]
        traced.shutdown(200)
        assert exporter.ended.is_set()
        assert [failure.part for failure in lines.guard.failures] == [
            "span processor Hanging.force_flush",
            "span processor Hanging.shutdown",
        ]
    finally:
        released.set()


def test_the_multi_processors_interface_reaches_all() -> None:
    """Who holds `tracer.span_processor`, as upstream's is held, calls every processor through it."""
    first, second = Collected(), Collected()
    traced = provider(first, second)
    span = traced.get_tracer("t").start_span("s")
    multi = traced.get_tracer("t").span_processor
    multi.on_start(span)  # type: ignore[arg-type]
    multi.on_end(span)  # type: ignore[arg-type]
    assert first.spans == second.spans == [span]
