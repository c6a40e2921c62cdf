"""The same calls through upstream's SDK and ours leave the same spans; what differs on purpose is in one table."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    Decision,
    ParentBasedTraceIdRatio,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags, TraceState

from otel_distro import sampling, settings
from otel_distro.guard import Guard
from otel_distro.tracing import LeanTracerProvider
from tests.conformance import tracing_programs as programs
from tests.tracing_rig import Collected

RESOURCE = Resource({"service.name": "differential"})
UPSTREAM_SAMPLERS = {
    "always_on": ALWAYS_ON,
    "always_off": ALWAYS_OFF,
    "parentbased_always_on": DEFAULT_ON,
    "parentbased_always_off": DEFAULT_OFF,
    "traceidratio": TraceIdRatioBased(0.5),
    "parentbased_traceidratio": ParentBasedTraceIdRatio(0.5),
}


class Counting(IdGenerator):
    """Ids 1, 2, 3 ..., spread over the 64 bits a ratio looks at."""

    def __init__(self) -> None:
        self.drawn = 0
        self.calls: list[str] = []

    def generate_span_id(self) -> int:
        return self._next("span")

    def generate_trace_id(self) -> int:
        return self._next("trace")

    def is_trace_id_random(self) -> bool:
        self.calls.append("random?")
        return False

    def _next(self, what: str) -> int:
        self.calls.append(what)
        self.drawn += 1
        return self.drawn * 0x9E3779B97F4A7C15 % 2**64 or 1


def upstream(limits: dict[str, Any], sampler: Sampler = DEFAULT_ON, ids: IdGenerator | None = None) -> TracerProvider:
    """Upstream's provider under the same limits."""

    def unset(value: int | None) -> int:
        return SpanLimits.UNSET if value is None else value

    length = limits["attribute_length"]
    return TracerProvider(
        sampler=sampler,
        resource=RESOURCE,
        shutdown_on_exit=False,
        id_generator=ids,
        span_limits=SpanLimits(
            max_attributes=limits["attribute_count"],
            max_events=limits["event_count"],
            max_links=limits["link_count"],
            max_span_attributes=limits["span_attribute_count"],
            max_event_attributes=limits["event_attribute_count"],
            max_link_attributes=limits["link_attribute_count"],
            max_attribute_length=unset(length),
            max_span_attribute_length=unset(
                length if limits["span_attribute_length"] is None else limits["span_attribute_length"]
            ),
        ),
    )


def lean(limits: dict[str, Any], sampler: Sampler | None = None, ids: IdGenerator | None = None) -> LeanTracerProvider:
    """Our provider under the same limits."""
    return LeanTracerProvider(
        resource=RESOURCE,
        sampler=sampler or sampling.build("parentbased_always_on"),
        limits=settings.Limits(**limits),
        guard=Guard(output=lambda level, text: None),
        id_generator=ids,
    )


DEFAULTS: dict[str, Any] = {
    "attribute_count": 128,
    "span_attribute_count": None,
    "event_count": 128,
    "link_count": 128,
    "event_attribute_count": 128,
    "link_attribute_count": 128,
    "attribute_length": None,
    "span_attribute_length": None,
}


def ended(provider: TracerProvider, program: Any) -> tuple[list[Span], list[ReadableSpan]]:
    """Run a program; the spans started and the spans ended."""
    collected = Collected()
    provider.add_span_processor(collected)
    return programs.run(provider, program), collected.spans


@given(program=programs.programs, limits=programs.limits)
def test_programs_leave_the_same_spans(program: Any, limits: dict[str, Any]) -> None:
    """Any sequence of calls, under any limits, leaves equal spans in equal order, with our own ids in equal places."""
    started, theirs = ended(upstream(limits), program)
    also_started, ours = ended(lean(limits), program)
    their_ids: dict[int, int] = {}
    our_ids: dict[int, int] = {}
    assert [programs.seen(span, our_ids) for span in ours] == [programs.seen(span, their_ids) for span in theirs]
    assert [span.is_recording() for span in also_started] == [span.is_recording() for span in started]


@given(
    program=programs.programs,
    sampler=st.sampled_from(sorted(UPSTREAM_SAMPLERS)),
    limits=st.just(DEFAULTS) | programs.limits,
)
def test_samplers_and_third_party_ids_give_the_same_spans(program: Any, sampler: str, limits: dict[str, Any]) -> None:
    """Every sampler of the specification decides alike for the same ids, which come from a third party's generator."""
    their_ids, our_ids = Counting(), Counting()
    _, theirs = ended(upstream(limits, UPSTREAM_SAMPLERS[sampler], their_ids), program)
    _, ours = ended(lean(limits, sampling.build(sampler, "0.5"), our_ids), program)
    assert [programs.seen(span) for span in ours] == [programs.seen(span) for span in theirs]
    assert our_ids.calls.count("span") == their_ids.calls.count("span")
    assert our_ids.calls.count("trace") == their_ids.calls.count("trace")


@given(
    name=st.sampled_from(sorted(UPSTREAM_SAMPLERS)),
    ratio=st.floats(0, 1),
    trace_id=st.integers(1, 2**128 - 1) | st.sampled_from([2**63 - 1, 2**63, 2**64 - 1, 2**64]),
    parent=st.none()
    | st.builds(
        SpanContext,
        st.integers(0, 2),
        st.integers(0, 2),
        st.booleans(),
        st.integers(0, 3).map(TraceFlags),
        st.just(TraceState([("k", "v")])),
    ),
)
def test_flat_samplers_answer_as_upstreams(name: str, ratio: float, trace_id: int, parent: SpanContext | None) -> None:
    """`should_sample` of a flat sampler gives upstream's decision, attributes, tracestate and description."""
    theirs: Sampler = UPSTREAM_SAMPLERS[name]
    if name == "traceidratio":
        theirs = TraceIdRatioBased(ratio)
    elif name == "parentbased_traceidratio":
        theirs = ParentBasedTraceIdRatio(ratio)
    ours = sampling.build(name, repr(ratio))
    context = None if parent is None else programs.set_span_in_context(NonRecordingSpan(parent), Context())
    arguments = (context, trace_id, "n", SpanKind.SERVER, {"a": 1}, [Link(SpanContext(1, 1, False))])
    expected, found = theirs.should_sample(*arguments), ours.should_sample(*arguments)
    assert (found.decision, dict(found.attributes), found.trace_state) == (
        expected.decision,
        dict(expected.attributes),
        expected.trace_state,
    )
    assert ours.get_description() == theirs.get_description()


class Curious(SpanProcessor):
    """Writes down every call with what it was given."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        span.set_attribute("seen", True)
        self.calls.append(("start", programs.seen(span), span.is_recording(), parent_context))

    def _on_ending(self, span: Any) -> None:
        span.set_attribute("too", "late")
        self.calls.append(("ending", programs.seen(span), span.is_recording()))

    def on_end(self, span: ReadableSpan) -> None:
        self.calls.append(("end", programs.seen(span)))


class Picky(Sampler):
    """Records everything, samples every second, adds attributes and a tracestate, and writes down every call."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def should_sample(self, parent_context: Any, trace_id: int, name: str, *more: Any, **named: Any) -> SamplingResult:
        kind, attributes, links = more
        linked = [link and (link.context, repr(link.attributes)) for link in links]
        self.calls.append((parent_context, trace_id, name, kind, repr(attributes), linked, named))
        decision = list(Decision)[len(self.calls) % 3]
        return SamplingResult(decision, {"picky": len(self.calls), "": "no key"}, TraceState([("picky", "1")]))

    def get_description(self) -> str:
        return "Picky"


@given(program=programs.programs)
def test_third_parties_see_the_same_calls(program: Any) -> None:
    """Processors, samplers and id generators of third parties get the same calls with the same arguments, in order."""
    logs = []
    for make in (upstream, lean):
        curious, picky, ids = Curious(), Picky(), Counting()
        provider = make(DEFAULTS, picky, ids)
        provider.add_span_processor(curious)
        provider.add_span_processor(SpanProcessor())
        programs.run(provider, program)
        comparable = [(_span_id(context), *rest) for context, *rest in picky.calls]
        calls = [call[:3] + tuple(_span_id(context) for context in call[3:]) for call in curious.calls]
        logs.append((calls, comparable, ids.calls))
    assert logs[0] == logs[1]


def _span_id(context: Context | None) -> Any:
    return None if context is None else programs.get_current_span(context).get_span_context()


class Wicked(Exception):
    """An exception whose text raises."""

    def __str__(self) -> str:
        raise ValueError("no text")


class Broken(SpanProcessor):
    """Raises on every call."""

    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        raise ValueError("on_start")

    def on_end(self, span: ReadableSpan) -> None:
        raise ValueError("on_end")


class BrokenSampler(Sampler):
    """Raises on every call."""

    def should_sample(self, *arguments: Any, **named: Any) -> SamplingResult:
        raise ValueError("should_sample")

    def get_description(self) -> str:
        return "Broken"


class BrokenIds(Counting):
    """Raises on every call."""

    def _next(self, what: str) -> int:
        raise ValueError("ids")


def _nested() -> list[Any]:
    inner: list[Any] = []
    inner.append(inner)
    return inner


def _one(provider: TracerProvider, act: Callable[[Any], Any] = lambda span: None, **start: Any) -> dict[str, Any]:
    collected = Collected()
    provider.add_span_processor(collected)
    span = provider.get_tracer("t").start_span("s", **start)
    act(span)
    span.end()
    return programs.seen(collected.spans[0], {})


@dataclass(frozen=True)
class Difference:
    """One intended difference.

    Attributes:
        what: in one sentence, with the reason.
        act: runs it on a provider made by the function it is given.
        upstream: what upstream raises or returns.
        ours: what ours returns.
    """

    what: str
    act: Callable[[Callable[..., TracerProvider]], Any]
    upstream: Any
    ours: Any


INTENDED = [
    Difference(
        "attributes that are no mapping are left out and reported: a mistake in telemetry must not fail the request",
        lambda make: _one(make(DEFAULTS), attributes=[("a", 1)])["attributes"],
        TypeError,
        [],
    ),
    Difference(
        "set_attributes(None) changes nothing and is reported, for the same reason",
        lambda make: _one(make(DEFAULTS), lambda span: span.set_attributes(None))["attributes"],
        TypeError,
        [],
    ),
    Difference(
        "a value whose text raises becomes None, as upstream's own documentation says",
        lambda make: _one(make(DEFAULTS), lambda span: span.set_attribute("a", Wicked()))["attributes"],
        ValueError,
        [("a", "None")],
    ),
    Difference(
        "a value that contains itself is cut at 64 levels instead of a RecursionError in the application",
        lambda make: _one(make(DEFAULTS), lambda span: span.set_attribute("a", _nested()))["attributes"][0][0],
        RecursionError,
        "a",
    ),
    Difference(
        "the text of an object is cut like any other text: the limit is there to bound memory and bytes",
        lambda make: _one(make(DEFAULTS | {"attribute_length": 2}), lambda span: span.set_attribute("a", 1 + 2j))[
            "attributes"
        ],
        [("a", "'(1+2j)'")],
        [("a", "'(1'")],
    ),
    Difference(
        "a context that is none (a Span is often given by mistake) makes a root and is reported",
        lambda make: _one(make(DEFAULTS), context=NonRecordingSpan(SpanContext(1, 1, False)))["parent"],
        AttributeError,
        None,
    ),
    Difference(
        "an exception whose text raises is recorded without it instead of replacing the application's own error",
        lambda make: _one(make(DEFAULTS), lambda span: span.record_exception(Wicked()))["events"][0][1][1],
        ValueError,
        ("exception.message", "'<unprintable>'"),
    ),
    Difference(
        "what a processor raises stays with the guard (opentelemetry-python #5624), and the next one is called",
        lambda make: _one(_with(make(DEFAULTS), Broken()))["name"],
        ValueError,
        "s",
    ),
    Difference(
        "what a sampler raises stays with the guard, and the parent decides, roots are recorded",
        lambda make: _one(make(DEFAULTS, BrokenSampler()))["context"][2],
        ValueError,
        TraceFlags.SAMPLED | TraceFlags.RANDOM_TRACE_ID,
    ),
    Difference(
        "what an id generator raises stays with the guard, and random ids are drawn",
        lambda make: _one(make(DEFAULTS, ids=BrokenIds()))["context"][-1],
        ValueError,
        True,
    ),
    Difference(
        "a stack trace has no frames of the context managers that carry the span: they are not the application's",
        lambda make: "/opentelemetry/" in _stack_of_a_block(make(DEFAULTS)),
        True,
        False,
    ),
    Difference(
        "what start_as_current_span returned may be entered again, each time with a new span",
        lambda make: _entered_twice(make(DEFAULTS)),
        AttributeError,
        2,
    ),
    Difference(
        "the ended span is its own readable copy, so its attributes are a dictionary and no proxy of one",
        lambda make: type(_ended(make(DEFAULTS)).attributes).__name__,
        "mappingproxy",
        "dict",
    ),
    Difference(
        "an ended span can be told from a running one by is_recording only, not by its class",
        lambda make: hasattr(_ended(make(DEFAULTS)), "is_recording"),
        False,
        True,
    ),
]


def _stack_of_a_block(provider: TracerProvider) -> str:
    collected = Collected()
    provider.add_span_processor(collected)
    with contextlib.suppress(ZeroDivisionError), provider.get_tracer("t").start_as_current_span("s"):
        _ = 1 / 0
    return str((collected.spans[0].events[0].attributes or {})["exception.stacktrace"])


def _entered_twice(provider: TracerProvider) -> int:
    collected = Collected()
    provider.add_span_processor(collected)
    block = provider.get_tracer("t").start_as_current_span("s")
    for _ in range(2):
        with block:
            pass
    return len({span.context.span_id for span in collected.spans})


def _with(provider: TracerProvider, processor: SpanProcessor) -> TracerProvider:
    provider.add_span_processor(processor)
    return provider


def _ended(provider: TracerProvider) -> ReadableSpan:
    collected = Collected()
    provider.add_span_processor(collected)
    provider.get_tracer("t").start_span("s").end()
    return collected.spans[0]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Upstream logs each oddity of a program; thousands of lines would only cost time."""
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("difference", INTENDED, ids=lambda difference: difference.what[:60])
def test_intended_differences(difference: Difference) -> None:
    """Each listed difference is still one: upstream does what the table says, and ours what it promises."""

    def make_lean(limits: dict[str, Any], sampler: Any = None, ids: Any = None) -> TracerProvider:
        return lean(limits, sampler, ids)

    if isinstance(difference.upstream, type) and issubclass(difference.upstream, Exception):
        with pytest.raises(difference.upstream):
            difference.act(upstream)
    else:
        assert difference.act(upstream) == difference.upstream
    assert difference.act(make_lean) == difference.ours
