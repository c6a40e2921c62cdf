"""`sentry-trace` headers beside W3C's, for neighbours that know no others; an option, off by default."""

from __future__ import annotations

import re
from collections.abc import Callable

from opentelemetry.context import Context, get_current
from opentelemetry.propagators.textmap import (
    CarrierT,
    Getter,
    Setter,
    TextMapPropagator,
    default_getter,
    default_setter,
)
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)

HEADER = "sentry-trace"
_FORM = re.compile(r"[ \t]*(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})(?:-([01]))?[ \t]*")
_SAMPLED, _NOT_SAMPLED = TraceFlags(TraceFlags.SAMPLED), TraceFlags(TraceFlags.DEFAULT)


class SentryTrace(TextMapPropagator):
    """Reads and writes `sentry-trace` (develop.sentry.dev, "Trace Propagation"); baggage is W3C's own.

    It stands before the W3C propagator, which then replaces what it found: a valid `traceparent` wins. `-0` is a
    decision not to record, which is kept; without a decision ours is made.

    Args:
        decide: whether a trace is recorded here, by its id.
    """

    def __init__(self, decide: Callable[[int], bool]) -> None:
        self._decide = decide

    def extract(
        self, carrier: CarrierT, context: Context | None = None, getter: Getter[CarrierT] = default_getter
    ) -> Context:
        """The context with the caller as the remote parent, or as it was."""
        before = get_current() if context is None else context
        found = getter.get(carrier, HEADER)
        match = _FORM.fullmatch(found[0]) if found else None
        if match is None:
            return before
        trace_id = int(match[1], 16)
        sampled = self._decide(trace_id) if match[3] is None else match[3] == "1"
        flags = _SAMPLED if sampled else _NOT_SAMPLED
        parent = SpanContext(trace_id, int(match[2], 16), is_remote=True, trace_flags=flags)
        return set_span_in_context(NonRecordingSpan(parent), before)

    def inject(
        self, carrier: CarrierT, context: Context | None = None, setter: Setter[CarrierT] = default_setter
    ) -> None:
        """Write the header for the current span."""
        own = get_current_span(context).get_span_context()
        if own.is_valid:
            decision = int(own.trace_flags.sampled)
            setter.set(carrier, HEADER, f"{own.trace_id:032x}-{own.span_id:016x}-{decision}")

    @property
    def fields(self) -> set[str]:
        """The name of its header."""
        return {HEADER}


__all__ = ["HEADER", "SentryTrace"]
