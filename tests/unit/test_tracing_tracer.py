"""Tracers: ids, parents, the short way and the long way."""

from __future__ import annotations

import random
from typing import Any

import pytest
from opentelemetry import baggage, trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, Tracer
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, TraceState

from otel_distro import sampling
from otel_distro.sampling import FlatSampler
from otel_distro.tracing import LeanSpan, LeanTracer, attach_span, detach
from tests.tracing_rig import Collected, Lines, provider


def test_a_tracer_is_the_sdks_to_who_asks() -> None:
    """It passes for the SDK's tracer and carries that one's public attributes."""
    traced = provider()
    tracer = traced.get_tracer("t", "1")
    assert isinstance(tracer, Tracer)
    assert tracer.resource is traced.resource
    assert tracer.sampler is traced.sampler
    assert tracer.id_generator is traced.id_generator
    info = tracer.instrumentation_info
    assert info is not None
    assert info.name == "t"


@pytest.mark.parametrize("sampler", ["always_on", "always_off"])
def test_roots_carry_the_random_flag_and_children_inherit_it(sampler: str) -> None:
    """W3C Level 2: a root of our own ids has flag 2; a child has what its parent had, whatever the sampler says."""
    tracer = provider(sampler=sampling.build(sampler)).get_tracer("t")
    sampled = sampler == "always_on"
    assert tracer.begin("s", SpanKind.SERVER, None, {}).context.trace_flags == 2 + sampled
    for flags in range(8):
        child = tracer.begin("s", SpanKind.SERVER, SpanContext(1, 1, True, TraceFlags(flags)), {})
        assert child.context.trace_flags == (flags & 2) + sampled
        assert type(child.context.trace_flags) is TraceFlags


def test_a_child_keeps_trace_id_and_tracestate() -> None:
    """Ids and tracestate of the parent go on; the parent object itself is kept."""
    state = TraceState([("k", "v")])
    parent = SpanContext(2**128 - 1, 2**64 - 1, True, TraceFlags(1), state)
    span = provider().get_tracer("t").begin("s", SpanKind.SERVER, parent, {})
    assert isinstance(span, LeanSpan)
    assert span.parent is parent
    assert span.context.trace_id == 2**128 - 1
    assert span.context.trace_state is state
    assert not span.context.is_remote


@pytest.mark.parametrize("parent", [None, SpanContext(0, 1, False), SpanContext(1, 0, True)])
def test_without_a_valid_parent_a_span_is_a_root(parent: SpanContext | None) -> None:
    """None and invalid contexts make roots, also on the way that third parties see."""
    for extra in ({}, {"id_generator": RandomIdGenerator()}):
        span = provider(**extra).get_tracer("t").begin("s", SpanKind.SERVER, parent, {})
        assert isinstance(span, LeanSpan)
        assert span.parent is None
        assert span.context.is_valid


def test_ids_differ_though_the_application_seeds_random() -> None:
    """`random.seed` of an application, as tests and data code call it, does not make ids repeat."""
    drawn = set()
    for _ in range(50):
        random.seed(1)
        context = provider().get_tracer("t").begin("s", SpanKind.SERVER, None, {}).context
        drawn |= {context.trace_id, context.span_id}
    assert len(drawn) == 100


def test_begin_owns_the_dictionary() -> None:
    """The dictionary becomes the span's, as it is."""
    given: dict[str, Any] = {"a": 1}
    span = provider().get_tracer("t").begin("s", SpanKind.SERVER, None, given, 5)
    assert isinstance(span, LeanSpan)
    assert span.attributes is given
    assert span.start_time == 5


def test_late_attributes_are_allowed_only_where_nobody_looks_early() -> None:
    """A third party's sampler, id generator or `on_start` wants attributes at the start."""

    class Early(SpanProcessor):
        def on_start(self, span: Any, parent_context: Context | None = None) -> None:
            """Looks."""

    traced = provider(Collected())
    tracer = traced.get_tracer("t")
    assert tracer.begin_late(SpanKind.SERVER, None) is not None
    traced.add_span_processor(Early())
    assert tracer.begin_late(SpanKind.SERVER, None) is None
    assert provider(sampler=ALWAYS_ON).get_tracer("t").begin_late(SpanKind.SERVER, None) is None
    assert provider(id_generator=RandomIdGenerator()).get_tracer("t").begin_late(SpanKind.SERVER, None) is None


class Contexts(SpanProcessor):
    """Keeps what `on_start` was told of the parent."""

    def __init__(self) -> None:
        self.seen: list[tuple[SpanContext, object]] = []

    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        self.seen.append((trace.get_current_span(parent_context).get_span_context(), baggage.get_all(parent_context)))


def test_begin_tells_processors_where_the_parent_came_from() -> None:
    """`on_start` finds the parent and the baggage in its context, whether they were current, given or neither."""
    contexts = Contexts()
    tracer = provider(contexts).get_tracer("t")
    parent = SpanContext(1, 2, True, TraceFlags(1))
    token = attach_span(NonRecordingSpan(SpanContext(3, 4, False, TraceFlags(1))))
    try:
        tracer.begin("s", SpanKind.SERVER, parent, {}, context=baggage.set_baggage("k", "v", Context()))
        tracer.begin("s", SpanKind.SERVER, None, {})
        tracer.begin("s", SpanKind.SERVER, SpanContext(3, 4, False, TraceFlags(1)), {})
    finally:
        detach(token)
    assert [context.span_id for context, _ in contexts.seen] == [2, 0, 4]
    assert contexts.seen[0][1] == {"k": "v"}


def test_a_third_partys_sampler_is_asked() -> None:
    """Any `Sampler` decides, through the long way, with the parent in its context."""
    span = provider(sampler=ALWAYS_OFF).get_tracer("t").start_span("s")
    assert not span.is_recording()
    assert span.get_span_context().is_valid


class Nonsense(IdGenerator):
    """Gives what is no id."""

    def __init__(self, given: Any) -> None:
        self.given = given

    def generate_span_id(self) -> int:
        return self.given  # type: ignore[no-any-return]

    def generate_trace_id(self) -> int:
        return self.given  # type: ignore[no-any-return]


@pytest.mark.parametrize("given", [0, -1, 2**128, "7", None])
def test_ids_that_are_none_are_replaced(given: Any) -> None:
    """An id generator that gives no id costs a line once, and a random id is used."""
    lines = Lines()
    tracer = provider(id_generator=Nonsense(given), guard=lines.guard).get_tracer("t")
    contexts = [tracer.start_span("s").get_span_context() for _ in range(3)]
    assert all(context.is_valid for context in contexts)
    assert len({context.trace_id for context in contexts}) == 3
    assert len(lines.lines) == 1
    assert "id generator" in lines.lines[0]


@pytest.mark.parametrize("name", ["traceidratio", "parentbased_traceidratio", "always_on", "parentbased_always_off"])
def test_the_short_way_decides_as_the_sampler_says(name: str) -> None:
    """`begin` decides in place, for roots and for children, what the sampler's `decide` says of the same ids."""
    sampler = sampling.build(name, "0.5")
    assert isinstance(sampler, FlatSampler)
    tracer = provider(sampler=sampler).get_tracer("t")
    high = 5 << 64
    parents = [
        SpanContext(trace_id, 1, True, TraceFlags(flags))
        for trace_id in (1, high | 1, (1 << 64) - 1, high | (1 << 63))
        for flags in (0, 1)
    ]
    roots: list[SpanContext | None] = [None] * 200
    for parent in (*parents, *roots):
        context = tracer.begin("s", SpanKind.SERVER, parent, {}).context
        assert context.trace_flags.sampled is sampler.decide(parent, context.trace_id)


def test_attributes_that_are_no_mapping_are_left_out_on_either_way() -> None:
    """Such a span starts without attributes, whether or not a third party looks, and one line says so."""
    for more in ({}, {"id_generator": RandomIdGenerator()}):
        lines = Lines()
        span = provider(guard=lines.guard, **more).get_tracer("t").start_span("s", attributes=[("a", 1)])  # type: ignore[arg-type]
        assert isinstance(span, LeanSpan)
        assert span.attributes == {}
        assert [failure.part for failure in lines.guard.failures] == ["attributes"]


def test_links_of_a_start_are_filtered_and_bounded() -> None:
    """Invalid links, None among them and things that are no links are left out; the newest stay under the limit."""
    given: Any = [trace.Link(SpanContext(number, number, False), {"n": number}) for number in (0, 1, 2, 3)] + [
        None,
        "link",
    ]
    span = provider(limits={"link_count": 2}).get_tracer("t").start_span("s", links=given)
    assert isinstance(span, ReadableSpan)
    # the first is kept for its attributes, though its context is invalid
    assert [link.context.span_id for link in span.links] == [2, 3]
    assert span.dropped_links == 2


def test_tracers_are_the_same_for_the_same_scope() -> None:
    """Equal scopes share a tracer, different versions, schemas or attributes do not; all are lean."""
    traced = provider()
    tracer = traced.get_tracer("a", "1", "s")
    assert traced.get_tracer("a", "1", "s") is tracer
    assert traced.get_tracer("a", "1", "s", {"k": [1]}) is traced.get_tracer("a", "1", "s", {"k": [1]})
    others = {traced.get_tracer("b", "1", "s"), traced.get_tracer("a"), traced.get_tracer("a", "1", "s", {"k": 1})}
    assert len(others - {tracer}) == 3
    assert all(isinstance(other, LeanTracer) for other in others)


def test_tracers_are_bounded_in_number() -> None:
    """A name that changes all the time costs a line once and no memory for ever; its spans are made all the same."""
    lines, collected = Lines(), Collected()
    traced = provider(collected, guard=lines.guard)
    for number in range(1100):
        traced.get_tracer(f"scope {number}").start_span("s").end()
    assert len(collected.spans) == 1100
    assert traced.get_tracer("scope 5") is traced.get_tracer("scope 5")
    assert traced.get_tracer("scope 1050") is not traced.get_tracer("scope 1050")
    assert len(lines.lines) == 1
    assert traced.get_tracer("").scope.name == ""
    assert len(lines.lines) == 2
