"""Spans: what they are to others, and what they refuse."""

from __future__ import annotations

import gc
import time
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode

from otel_distro import sampling
from otel_distro.tracing import LeanSpan, UnsampledSpan
from tests.tracing_rig import Collected, Lines, provider


def started(**more: Any) -> LeanSpan:
    """A span of a provider without processors."""
    span = provider(**more).get_tracer("t").start_span("s")
    assert isinstance(span, LeanSpan)
    return span


def test_a_span_is_all_that_others_ask_for() -> None:
    """Third parties that check types find the API's span, the SDK's span and its readable copy in one object."""
    span = started()
    assert isinstance(span, trace.Span)
    assert isinstance(span, SdkSpan)
    assert isinstance(span, ReadableSpan)
    span.add_event("e")
    span.add_link(SpanContext(1, 1, False))
    assert isinstance(span.events[0], Event)
    assert isinstance(span.links[0], Link)
    assert "name" in LeanSpan.__slots__


def test_nobody_but_a_tracer_makes_spans() -> None:
    """The constructor says so instead of making a span without ids."""
    with pytest.raises(TypeError, match="made by a tracer"):
        LeanSpan("s")


def test_times_are_taken_when_they_are_not_given() -> None:
    """Start, event and end lie between the clock before and after, in nanoseconds."""
    before = time.time_ns()
    span = started()
    span.add_event("e")
    span.end()
    assert span.end_time is not None
    assert before <= span.start_time <= span.events[0].timestamp <= span.end_time <= time.time_ns()


def test_a_span_ends_no_earlier_than_it_starts() -> None:
    """Where the clock was set back meanwhile it ends when it started; an end that is given counts as it is."""
    behind = time.time_ns() + 3_600_000_000_000
    tracer = provider().get_tracer("t")
    for given, end in ((None, behind), (5, 5)):
        span: Any = tracer.start_span("s", start_time=behind)
        span.end(given)
        assert span.end_time == end


def test_nothing_changes_after_the_end_and_each_call_is_named_once() -> None:
    """Calls on an ended span change nothing, and each kind of call is said once, not each time."""
    lines, collected = Lines(), Collected()
    span = provider(collected, guard=lines.guard).get_tracer("t").start_span("s")
    span.end(5)
    before = collected.spans[0].to_json()
    for _ in range(2):
        span.set_attribute("a", 1)
        span.set_attributes({"a": 1})
        span.add_event("e")
        span.add_link(SpanContext(1, 1, False))
        span.update_name("n")
        span.set_status(StatusCode.OK)
        span.record_exception(ValueError())
        span.fail(ValueError())
        span.end()
    assert collected.spans[0].to_json() == before
    assert len(collected.spans) == 1
    assert sorted(line.split()[0] for line in lines.lines) == [
        "add_event",
        "add_link",
        "end",
        "record_exception",
        "set_attribute",
        "set_attributes",
        "set_status",
        "update_name",
    ]


def test_fail_is_what_use_span_does() -> None:
    """`fail` records the exception with its stack and sets ERROR with type and text."""
    span = started()
    try:
        {}["k"]
    except KeyError as error:
        span.fail(error)
    (event,) = span.events
    attributes = dict(event.attributes or {})
    assert (attributes["exception.type"], attributes["exception.message"]) == ("KeyError", "'k'")
    assert str(attributes["exception.stacktrace"]).startswith("Traceback")
    assert attributes["exception.escaped"] == "False"
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "KeyError: 'k'")


def test_a_status_of_ok_is_final() -> None:
    """OK overrules ERROR, nothing overrules OK, and UNSET is ignored."""
    span = started()
    span.set_status(StatusCode.ERROR, "e")
    span.set_status(StatusCode.UNSET)
    assert span.status.description == "e"
    span.set_status(Status(StatusCode.OK))
    span.fail(ValueError())
    assert span.status.status_code is StatusCode.OK


def test_attributes_written_directly_come_under_the_limits_at_the_end() -> None:
    """An instrumentation that owns the dictionary cannot pass the limits by: `finish` applies them and counts."""
    tracer = provider(limits={"attribute_count": 2, "attribute_length": 3}).get_tracer("t")
    span = tracer.begin("s", SpanKind.CLIENT, None, {"a": "long text", "b": 1})
    assert isinstance(span, LeanSpan)
    span.attributes["c"] = "more text"
    span.finish()
    assert span.attributes == {"b": 1, "c": "mor"}
    assert span.dropped_attributes == 1


def test_a_span_used_as_a_block_ends_itself() -> None:
    """`with tracer.start_span()` records what leaves it as escaped, unless told otherwise, and ends."""
    tracer = provider().get_tracer("t")
    kept: list[Any] = []
    for options in ({}, {"record_exception": False}, {"set_status_on_exception": False}):
        span = tracer.start_span("s", **options)
        kept.append(span)
        with pytest.raises(ValueError, match="v"), span:
            raise ValueError("v")
    assert [len(span.events) for span in kept] == [1, 0, 1]
    assert [span.status.status_code for span in kept] == [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET]
    assert all(span.end_time for span in kept)
    assert kept[0].events[0].attributes["exception.escaped"] == "True"


def test_a_span_leaves_nothing_for_the_collector_of_cycles() -> None:
    """Spans with events, links and exceptions are freed by counting references: cycles would cost pauses."""
    tracer = provider().get_tracer("t")

    def work() -> None:
        with tracer.start_as_current_span("s") as span:
            span.add_event("e", {"a": 1})
            span.add_link(SpanContext(1, 1, False))
            span.set_attribute("a", [1, 2])

    work()
    gc.collect()
    gc.disable()
    try:
        for _ in range(1_000):
            work()
        # a thread that another test has left may leave some; a cycle of a span is at least one object a span
        assert gc.collect() < 1_000
    finally:
        gc.enable()


def test_an_unsampled_span_has_an_id_of_its_own_and_does_nothing() -> None:
    """The specification asks for a new span id whatever the sampler says; every call is accepted and ignored."""
    tracer = provider(sampler=sampling.build("parentbased_always_on")).get_tracer("t")
    parent = SpanContext(7, 9, True)
    span = tracer.begin("s", SpanKind.SERVER, parent, {})
    assert isinstance(span, UnsampledSpan)
    assert isinstance(span, trace.NonRecordingSpan)
    context = span.get_span_context()
    assert context is span.context
    assert (context.trace_id, context.trace_flags.sampled, context.is_valid) == (7, False, True)
    assert context.span_id != 9
    span.set_attribute("a", 1)
    span.fail(ValueError())
    span.finish()
    span.end()
    assert not span.is_recording()
    assert "UnsampledSpan" in repr(span)
