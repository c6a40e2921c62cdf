"""The console exporter: when a trace is drawn, and what is held until then."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from otel_distro.console import ConsoleSpanExporter, Style

Shape = tuple[str, Sequence["Shape"]]


def spans_of(*shapes: Shape, parent: trace.Span | None = None) -> list[ReadableSpan]:
    """Real SDK spans, in the order in which they end (children first)."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "app"}))
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("test")

    def make(shape: Shape) -> None:
        with tracer.start_as_current_span(shape[0]):
            for child in shape[1]:
                make(child)

    with trace.use_span(parent or trace.INVALID_SPAN):
        for shape in shapes:
            make(shape)
    return list(memory.get_finished_spans())


def names(text: str) -> list[str]:
    """Span names in the drawing, which are single capital letters here."""
    return re.findall(r"\b[A-Z]\b", text)


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def exporter(stream: io.StringIO) -> ConsoleSpanExporter:
    return ConsoleSpanExporter(stream, width=100, max_traces=3, max_spans=10)


def test_a_trace_is_drawn_when_its_root_has_ended(stream: io.StringIO, exporter: ConsoleSpanExporter) -> None:
    """Spans wait over several batches for their root, then stand as one tree."""
    b, c, a = spans_of(("A", [("B", []), ("C", [])]))
    assert exporter.export([b]) is SpanExportResult.SUCCESS
    exporter.export([c])
    assert stream.getvalue() == ""
    exporter.export([a])
    assert names(stream.getvalue()) == ["A", "B", "C"]
    assert stream.getvalue().count("trace ") == 1


def test_a_span_with_a_remote_parent_is_a_local_root(stream: io.StringIO, exporter: ConsoleSpanExporter) -> None:
    """The part of a trace in this process is drawn without waiting for the caller's part."""
    caller = NonRecordingSpan(SpanContext(7, 7, is_remote=True, trace_flags=TraceFlags(1)))
    exporter.export(spans_of(("A", [("B", [])]), parent=caller))
    assert names(stream.getvalue()) == ["A", "B"]
    assert f"trace {7:032x}" in stream.getvalue()


def test_two_parts_of_one_trace_are_drawn_apart(stream: io.StringIO, exporter: ConsoleSpanExporter) -> None:
    """A process that is called twice within a trace shows each call when that call has ended."""
    caller = NonRecordingSpan(SpanContext(7, 7, is_remote=True, trace_flags=TraceFlags(1)))
    b, a, d, c = spans_of(("A", [("B", [])]), ("C", [("D", [])]), parent=caller)
    exporter.export([d, b, a])
    assert names(stream.getvalue()) == ["A", "B"]
    exporter.export([c])
    assert names(stream.getvalue()) == ["A", "B", "C", "D"]


def test_what_ends_after_its_root_is_drawn_as_late(stream: io.StringIO, exporter: ConsoleSpanExporter) -> None:
    """A child that outlives the root, and what stands under it, follow in a drawing of their own that says so."""
    c, b, a = spans_of(("A", [("B", [("C", [])])]))
    exporter.export([a])
    stream.truncate(stream.seek(0))
    exporter.export([c])
    assert stream.getvalue() == ""
    exporter.export([b])
    assert names(stream.getvalue()) == ["B", "C"]
    assert "ended later" in stream.getvalue()


def test_the_oldest_trace_is_given_up_and_counted(stream: io.StringIO, exporter: ConsoleSpanExporter) -> None:
    """Where more traces wait than may be held, the oldest one's spans are dropped, counted and mentioned."""
    waiting = [spans_of((root, [(child, [])])) for root, child in ("AB", "CD", "EF", "GH")]
    for child, _ in waiting:
        exporter.export([child])
    assert exporter.given_up == 1
    assert "1 spans given up so far" in stream.getvalue()
    exporter.export([waiting[0][1]])
    assert names(stream.getvalue()) == ["A"]
    exporter.export([waiting[3][1]])
    assert names(stream.getvalue()) == ["A", "G", "H"]


def test_spans_held_are_bounded(stream: io.StringIO, exporter: ConsoleSpanExporter) -> None:
    """A trace that grows without end does not grow the exporter."""
    *children, _ = spans_of(("A", [("B", [])] * 1_000))
    for child in children:
        exporter.export([child])
    assert exporter.given_up >= 1_000 - 10
    exporter.shutdown()
    assert len(names(stream.getvalue())) == 1_000 - exporter.given_up


def test_memory_of_drawn_traces_is_bounded(stream: io.StringIO, exporter: ConsoleSpanExporter) -> None:
    """A late span of a trace drawn long ago waits for shutdown; it is not lost and nothing else is remembered."""
    late, root = spans_of(("A", [("B", [])]))
    exporter.export([root])
    for _ in range(20):
        exporter.export(spans_of(("X", [])))
    stream.truncate(stream.seek(0))
    exporter.export([late])
    assert stream.getvalue() == ""
    exporter.shutdown()
    assert names(stream.getvalue()) == ["B"]


def test_shutdown_draws_what_never_finished(stream: io.StringIO, exporter: ConsoleSpanExporter) -> None:
    """Spans whose root never ended are drawn at shutdown, named unfinished, once."""
    child, _ = spans_of(("A", [("B", [])]))
    exporter.export([child])
    exporter.shutdown()
    exporter.shutdown()
    assert names(stream.getvalue()) == ["B"]
    assert "unfinished" in stream.getvalue()
    assert exporter.export([child]) is SpanExportResult.FAILURE


def test_a_closed_stream_is_a_failure_not_an_exception(stream: io.StringIO, exporter: ConsoleSpanExporter) -> None:
    """The reader may go away at any time."""
    stream.close()
    assert exporter.export(spans_of(("A", []))) is SpanExportResult.FAILURE
    exporter.shutdown()


def test_names_that_the_stream_cannot_encode_are_replaced() -> None:
    """A name in another script is written to an ASCII stream with question marks, not lost with its trace."""
    raw = io.BytesIO()
    exporter = ConsoleSpanExporter(io.TextIOWrapper(raw, encoding="ascii"), style=Style(ascii=True), width=100)
    assert exporter.export(spans_of(("Größe 宽", []))) is SpanExportResult.SUCCESS
    assert b"Gr??e ?" in raw.getvalue()


def test_a_forked_child_draws_only_its_own(stream: io.StringIO, exporter: ConsoleSpanExporter) -> None:
    """What the parent held stays the parent's, and a lock held at the fork is free in the child."""
    child, _ = spans_of(("A", [("B", [])]))
    exporter.export([child])
    exporter.after_fork()
    exporter.shutdown()
    assert stream.getvalue() == ""


def test_a_pipe_whose_reader_left_is_a_failure() -> None:
    """EPIPE is an answer, not an exception."""
    reading, writing = os.pipe()
    os.close(reading)
    pipe = open(writing, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - closed below, where it fails again
    exporter = ConsoleSpanExporter(pipe, width=80)
    assert exporter.export(spans_of(("A", []))) is SpanExportResult.FAILURE
    with pytest.raises(BrokenPipeError):
        pipe.close()
