"""The span of a call to another service: nobody can tell that it is not put together before somebody looks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import requests
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Span, SpanContext, SpanKind, StatusCode, TraceFlags, TraceState

from otel_distro import sampling, settings
from otel_distro.instrumentation.requests import RequestsInstrumentation
from otel_distro.tracing import LeanTracerProvider
from otel_distro.tracing.client import ClientSpan, ClientSpans, encoded
from otel_distro.tracing.common import Common
from tests.http_echo import Echo
from tests.recording import Recording, TakingBrief, instrumented

OTHER = SpanContext(1, 2, False)
COMMON = {"http.request.method": "GET", "server.address": "localhost"}
OWN = {"url.full": "http://localhost/"}


def spans_of(provider: LeanTracerProvider) -> ClientSpans:
    """The spans of calls to one place."""
    spans = provider.get_tracer("test").briefs("GET", SpanKind.CLIENT, COMMON, ClientSpans)
    assert isinstance(spans, ClientSpans)
    return spans


def begun(provider: LeanTracerProvider, own: dict[str, object]) -> ClientSpan:
    """The span of a call that has begun."""
    span = spans_of(provider).begin(None, None, {**own})  # type: ignore[dict-item]
    assert isinstance(span, ClientSpan)
    return span


TOUCHES: dict[str, Callable[[Span], object]] = {
    "attribute": lambda span: span.set_attribute("own", 1),
    "attributes": lambda span: span.set_attributes({"own": 1}),
    "event": lambda span: span.add_event("seen"),
    "link": lambda span: span.add_link(OTHER),
    "status": lambda span: span.set_status(StatusCode.ERROR, "odd"),
    "name": lambda span: span.update_name("another"),
    "exception": lambda span: span.record_exception(ValueError("odd")),
}


def test_a_call_that_nobody_looked_at_is_what_it_has_in_common_and_its_own() -> None:
    """Such a span is told with the attributes of all that ended alike and with its own."""
    recording = Recording(brief=True)
    span = begun(recording.tracer_provider, {**OWN})
    alike = Common(span.name, SpanKind.CLIENT, {**COMMON, "http.response.status_code": 200})
    assert span.conclude(alike, 7 + span.start_time)
    assert alike.taker is not None
    for piece in encoded(alike, [span]):
        alike.taker.take(piece)
    told = recording.one()
    assert dict(told.attributes or {}) == {**COMMON, **OWN, "http.response.status_code": 200}
    assert (told.name, told.kind, told.context, told.start_time) == (
        "GET",
        SpanKind.CLIENT,
        span.context,
        span.start_time,
    )
    assert not span.is_recording()
    assert not span.conclude(Common(span.name, SpanKind.CLIENT, COMMON), span.start_time), "a span ends once"


@pytest.mark.parametrize("touch", TOUCHES)
def test_a_call_that_somebody_touched_ends_as_every_span(touch: str) -> None:
    """What code within the call says of the span is on it, beside all attributes it would have had."""
    recording = Recording(brief=True)
    span = begun(recording.tracer_provider, {**OWN})
    TOUCHES[touch](span)
    assert not span.conclude(Common(COMMON["http.request.method"], SpanKind.CLIENT, COMMON), span.start_time)
    span.end()
    told = recording.one()
    attributes = dict(told.attributes or {})
    assert attributes.pop("own", None) == (1 if touch.startswith("attribute") else None)
    assert attributes == {**COMMON, **OWN}
    assert [event.name for event in told.events] == {"event": ["seen"], "exception": ["exception"]}.get(touch, [])
    assert [link.context for link in told.links] == ([OTHER] if touch == "link" else [])
    assert told.status.status_code is (StatusCode.ERROR if touch == "status" else StatusCode.UNSET)
    assert told.name == ("another" if touch == "name" else "GET")


def test_an_attribute_that_both_have_is_the_calls() -> None:
    """Where the application said what the call says of itself, the call's word is the one that counts."""
    recording = Recording(brief=True)
    span = begun(recording.tracer_provider, {"server.address": "told", **OWN})
    assert not span.conclude(Common(span.name, SpanKind.CLIENT, COMMON), span.start_time)
    span.end()
    assert dict(recording.one().attributes or {}) == {**COMMON, **OWN}


@pytest.mark.parametrize("sampler", ["always_on", "always_off", "parentbased_always_on", "parentbased_always_off"])
@pytest.mark.parametrize("parent", [None, OTHER, SpanContext(3, 4, True, TraceFlags(3), TraceState([("a", "b")]))])
def test_a_call_is_sampled_and_named_as_every_span(sampler: str, parent: SpanContext | None) -> None:
    """Flags, trace, tracestate and the decision are what the tracer itself gives a span with this parent."""
    recording = Recording(sampler=sampler, brief=True)
    span = spans_of(recording.tracer_provider).begin(parent, None, {})
    usual = recording.tracer_provider.get_tracer("test").begin("GET", SpanKind.CLIENT, parent, {})
    assert span is not None
    assert span.is_recording() == usual.is_recording()
    assert span.context.trace_flags == usual.context.trace_flags
    assert span.context.trace_state == usual.context.trace_state
    assert span.context.is_valid
    assert span.context.span_id != usual.context.span_id
    assert parent is None or span.context.trace_id == parent.trace_id


def test_a_call_is_decided_about_once() -> None:
    """A trace that is not sampled is not drawn again: one of two, and not three of four."""
    recording = Recording(brief=True)
    half = LeanTracerProvider(
        resource=Resource({}),
        sampler=sampling.build("traceidratio", "0.5"),
        limits=settings.parse({})[0].traces.limits,
        guard=recording.guard,
    )
    half.add_span_processor(TakingBrief(InMemorySpanExporter()))
    spans = spans_of(half)
    assert 800 < sum(isinstance(spans.begin(None, None, {}), ClientSpan) for _ in range(2_000)) < 1_200


def test_where_somebody_looks_at_every_span_none_is_made_here() -> None:
    """A second processor wants whole spans, which the tracer makes, from the moment it is there."""
    recording = Recording(brief=True)
    spans = spans_of(recording.tracer_provider)
    recording.tracer_provider.add_span_processor(SpanProcessor())
    assert spans.begin(None, None, {}) is None


def test_code_within_a_call_writes_to_its_span(echo: Echo) -> None:
    """A hook of requests' own sees the span of the call as the current one."""
    recording = Recording(brief=True)
    with instrumented(RequestsInstrumentation, recording), requests.Session() as session:
        session.get(echo.url, hooks={"response": lambda *_, **__: trace.get_current_span().set_attribute("own", 1)})
    attributes = dict(recording.one().attributes or {})
    assert attributes["own"] == 1
    assert (attributes["http.response.status_code"], attributes["http.request.method"]) == (200, "GET")
