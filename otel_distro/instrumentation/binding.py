"""Tracers and instruments as our instrumentations use them, lean or not.

A lean tracer has `begin` and a lean instrument has `series`; where the user gave a provider of another make, the same
calls go through the public API.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

from opentelemetry.context import Context, get_current
from opentelemetry.metrics import Counter, Histogram, UpDownCounter
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    Tracer,
    set_span_in_context,
)
from opentelemetry.util.types import AnyValue

from otel_distro.tracing.brief import Briefs, Ids, Steps, Takes
from otel_distro.tracing.late import LateSpan
from otel_distro.tracing.span import UnsampledSpan

Attributes = Mapping[str, Any]
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class Starts(Protocol):
    """What starts spans for an instrumentation of ours: a `LeanTracer`, or `ApiTracer` around any other."""

    @property
    def brief(self) -> object | None:
        """Whether spans may be made at their end alone: None where not, and `briefs` must not be called."""
        ...

    def briefs(self, name: str, kind: SpanKind, attributes: Mapping[str, AnyValue], make: type[Briefs] = ...) -> Briefs:
        """Spans that are made at their end alone, or `make` of client spans; see `LeanTracer.briefs`."""
        ...

    def begin(  # noqa: PLR0917 - as `LeanTracer.begin`
        self,
        name: str,
        kind: SpanKind,
        parent: SpanContext | None,
        attributes: dict[str, AnyValue],
        start_time: int | None = None,
        context: Context | None = None,
    ) -> Any:
        """Start a `Span` without making it current; see `LeanTracer.begin`."""
        ...

    def begin_late(self, kind: SpanKind, parent: SpanContext | None) -> LateSpan | UnsampledSpan | None:
        """Start one that learns the rest later; None where it has to be started by `begin`."""
        ...


class Records(Takes, Protocol):
    """A histogram bound to one set of attributes."""

    def record(self, value: float, span: Span | None = None) -> None:
        """Take one measurement; `span` becomes its exemplar."""
        ...


class Adds(Steps, Protocol):
    """A counter bound to one set of attributes."""

    def add(self, value: float, span: Span | None = None) -> None:
        """Add to the sum; `span` becomes its exemplar."""
        ...


class ApiTracer:
    """`begin` for a tracer that has none.

    Args:
        tracer: of any provider.
    """

    __slots__ = ("_tracer",)

    brief = None

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def briefs(
        self, name: str, kind: SpanKind, attributes: Mapping[str, AnyValue], make: type[Briefs] = Briefs
    ) -> Briefs:
        """Not for tracers of others."""
        raise TypeError("a tracer that is not lean makes whole spans")

    def begin(  # noqa: PLR0917 - as `LeanTracer.begin`
        self,
        name: str,
        kind: SpanKind,
        parent: SpanContext | None,
        attributes: dict[str, AnyValue],
        start_time: int | None = None,
        context: Context | None = None,
    ) -> Any:
        """See `LeanTracer.begin`; a tracer of others makes its own spans."""
        above = INVALID_SPAN if parent is None else NonRecordingSpan(parent)
        where = set_span_in_context(above, get_current() if context is None else context)
        return self._tracer.start_span(name, where, kind, attributes, start_time=start_time)

    def begin_late(self, kind: SpanKind, parent: SpanContext | None) -> None:
        """Not for tracers of others."""


class _Series:
    __slots__ = ("_attributes", "_take")

    waits = False

    def __init__(self, take: Callable[..., None], attributes: Attributes) -> None:
        self._take = take
        self._attributes = attributes

    def record(self, value: float, span: Span | None = None) -> None:
        if span is None:
            self._take(value, self._attributes)
        else:
            self._take(value, self._attributes, set_span_in_context(span))

    add = record

    def step(self, value: int) -> None:
        self._take(value, self._attributes)

    def took(self, seconds: float, now: float, ids: tuple[int, int] | None) -> None:
        del now
        self.record(seconds, None if ids is None else NonRecordingSpan(SpanContext(*ids, False, _SAMPLED)))

    def took_all(self, values: Sequence[float], moments: Sequence[float], ids: Callable[[int], Ids]) -> None:
        raise TypeError("an instrument of others is told at once")


class _Nothing:
    __slots__ = ()

    waits = True

    def record(self, value: float, span: Span | None = None) -> None:
        """Do nothing."""

    add = record

    def step(self, value: int) -> None:
        """Do nothing."""

    def took(self, seconds: float, now: float, ids: tuple[int, int] | None) -> None:
        """Do nothing."""

    def took_all(self, values: Sequence[float], moments: Sequence[float], ids: Callable[[int], Ids]) -> None:
        """Do nothing."""


NOTHING = _Nothing()
"""A series that takes nothing, for metrics that are switched off."""


def tracing(tracer: Tracer) -> Starts:
    """The tracer itself when it is lean, else an adapter."""
    return cast("Starts", tracer) if hasattr(tracer, "begin") else ApiTracer(tracer)


def histogram_series(histogram: Histogram, attributes: Attributes) -> Records:
    """The histogram's series of these attributes."""
    series = getattr(histogram, "series", None)
    return cast("Records", series(attributes)) if series is not None else _Series(histogram.record, attributes)


def counter_series(counter: Counter | UpDownCounter, attributes: Attributes) -> Adds:
    """The counter's series of these attributes."""
    series = getattr(counter, "series", None)
    return cast("Adds", series(attributes)) if series is not None else _Series(counter.add, attributes)
