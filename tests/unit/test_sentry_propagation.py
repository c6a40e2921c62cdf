"""`sentry-trace` beside `traceparent`: an option that respects decisions and never wins over W3C's header."""

from __future__ import annotations

import pytest
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otel_distro.sentry.propagation import HEADER, SentryTrace

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def extracted(headers: dict[str, str], *, ours: bool = True) -> SpanContext:
    """The parent that a service with both propagators finds."""
    both = CompositePropagator([SentryTrace(lambda trace_id: ours), TraceContextTextMapPropagator()])
    return get_current_span(both.extract(headers, Context())).get_span_context()


@pytest.mark.parametrize(("flag", "sampled"), [("-1", True), ("-0", False)])
def test_a_decision_is_kept(flag: str, sampled: bool) -> None:
    """`-0` is a caller's decision not to record, and is respected as `-1` is."""
    parent = extracted({HEADER: f"{TRACE}-{SPAN}{flag}"})
    assert (f"{parent.trace_id:032x}", f"{parent.span_id:016x}") == (TRACE, SPAN)
    assert parent.trace_flags.sampled is sampled
    assert parent.is_remote


@pytest.mark.parametrize("ours", [True, False])
def test_without_a_decision_ours_is_made(ours: bool) -> None:
    """A header without a flag leaves the decision to this service."""
    assert extracted({HEADER: f"{TRACE}-{SPAN}"}, ours=ours).trace_flags.sampled is ours


def test_a_traceparent_wins() -> None:
    """A valid W3C header is never overridden."""
    other = "11111111111111111111111111111111"
    parent = extracted({HEADER: f"{TRACE}-{SPAN}-1", "traceparent": f"00-{other}-{SPAN}-00"})
    assert f"{parent.trace_id:032x}" == other
    assert not parent.trace_flags.sampled


@pytest.mark.parametrize(
    "header", ["", "nonsense", f"{'0' * 32}-{SPAN}-1", f"{TRACE}-{'0' * 16}-1", f"{TRACE}-{SPAN}-2"]
)
def test_nonsense_is_no_parent(header: str) -> None:
    """A header that breaks the form starts a new trace."""
    assert not extracted({HEADER: header}).is_valid


@pytest.mark.parametrize("flags", [0, 1, 3])
def test_the_header_says_whether_the_trace_is_recorded(flags: int) -> None:
    """Outgoing headers carry the sampled bit, whatever other flags there are."""
    own = SpanContext(int(TRACE, 16), int(SPAN, 16), is_remote=False, trace_flags=TraceFlags(flags))
    carrier: dict[str, str] = {}
    SentryTrace(lambda trace_id: True).inject(carrier, set_span_in_context(NonRecordingSpan(own)))
    assert carrier == {HEADER: f"{TRACE}-{SPAN}-{flags & 1}"}
