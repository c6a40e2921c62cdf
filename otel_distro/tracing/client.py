# pyright: reportIncompatibleVariableOverride=false
"""The span of a call to another service: current while the call runs, but put together only where somebody looks at it.

What it has beyond its ids is alike in all calls to one place that were answered alike. As long as nobody has looked,
the exporter is given that as it was encoded once, and the few attributes that are the call's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from time import time_ns
from typing import Any

from opentelemetry.trace import DEFAULT_TRACE_STATE, SpanContext, TraceFlags
from opentelemetry.util.types import AnyValue

from otel_distro._compat import new_span_context
from otel_distro.context import Scope
from otel_distro.guard import let_through
from otel_distro.ledger import FEW

from .brief import Briefs
from .common import Common, PlainSpan
from .span import UnsampledSpan, unsampled_span

_LOW_BITS = (1 << 64) - 1
_SAMPLED = TraceFlags.SAMPLED
_RANDOM = TraceFlags.RANDOM_TRACE_ID
_FLAGS = tuple(TraceFlags(bits) for bits in range(4))
_new = object.__new__
_FIELDS = attrgetter("context", "parent", "start_time", "end_time", "own", "resource", "instrumentation_scope")


class ClientSpan(PlainSpan):
    """A lean span whose attributes are put together when somebody asks for them, or never.

    Attributes:
        common: attributes of all calls to that place.
        own: the call's own attributes, in a dictionary of its own.
    """

    __slots__ = ("common", "own")

    common: Mapping[str, AnyValue]
    own: dict[str, AnyValue]

    @property
    def attributes(self) -> dict[str, AnyValue]:
        """All of them; from now on this is a span as all others are."""
        seen = self._seen
        if seen is None:
            self._plain = False
            # what the call says of itself comes after what the application said
            seen = self._seen = {**self.own, **self.common}
        return seen

    @attributes.setter
    def attributes(self, attributes: dict[str, AnyValue]) -> None:
        self._plain = False
        self._seen = attributes

    def conclude(self, alike: Common, end_time: int) -> bool:
        """End without ever having been put together.

        The caller has to put it into the ledger of `alike.taker`.

        Args:
            alike: name and attributes of such spans.
            end_time: nanoseconds since the epoch.

        Returns:
            False, and nothing has happened, where somebody has looked at it or wants to, or its own attributes are
            among those of others: then it has to be ended as every span.
        """
        processors, own, common = self._processors, self.own, alike.attributes
        taker, more = processors.brief, len(own)
        if (
            taker is None
            or self.name is not alike.name
            or more + alike.size > processors.room
            or (more > 1 and not own.keys().isdisjoint(common))
        ):
            return False
        if alike.taker is not taker:
            alike.meet(taker)
        # no call stands between these two lines; see `LeanSpan.finish`
        if self.end_time is not None or not self._plain:
            return False
        self.end_time = end_time
        self.common = common
        return True


def encoded(alike: Common, spans: Sequence[ClientSpan]) -> list[tuple[Any, Any, bytes]]:
    """The pieces of spans that were concluded with `alike`."""
    taker: Any = alike.taker
    if len(spans) >= FEW:
        try:
            ids, parents, starts, ends, own, resources, scopes = zip(*map(_FIELDS, spans), strict=True)
            others = taker.span_encoder.all_attributes(own)
            made = alike.finish_all(ids, parents, starts, ends, others)
            return list(zip(resources, scopes, made, strict=True))
        except Exception as raised:  # noqa: BLE001 - one of them is not like the others
            let_through(raised)
    return [_encoded(alike, span, taker) for span in spans]


def _encoded(alike: Common, span: ClientSpan, taker: Any) -> tuple[Any, Any, bytes]:
    ids: Any = span.context
    try:
        made = alike.finish(ids[0], ids[1], span.parent, span.start_time, span.end_time, span.own)  # type: ignore[arg-type]
    except Exception as raised:  # noqa: BLE001 - as a whole, whatever is wrong with it, it has a form
        let_through(raised)
        piece: tuple[Any, Any, bytes] = taker.span_encoder.piece(span)
        return piece
    return span.resource, span.instrumentation_scope, made


class ClientSpans(Briefs):
    """Spans of calls to one place, of one name: what `LeanTracer.begin` does for any span, and for these alone.

    Made by `LeanTracer.briefs`; see `Briefs`.
    """

    __slots__ = ()

    def begin(
        self, parent: SpanContext | None, scope: Scope | None, own: dict[str, AnyValue]
    ) -> ClientSpan | UnsampledSpan | None:
        """Start one without making it current.

        Args:
            parent: valid, or None for a root.
            scope: of the running code: user, tenant and what else the application said go onto the span.
            own: its attributes beside those of all; becomes the span's own.

        Returns:
            The span; None where somebody wants to look at every span by now.
        """
        processors = self._processors
        if processors.brief is None:
            return None
        if parent is None:
            bits = self._bits(192)
            trace_id, span_id, state = bits >> 64 or 1, bits & _LOW_BITS or 1, DEFAULT_TRACE_STATE
            sampled: int = trace_id & _LOW_BITS < self._bound
            flags = _RANDOM
        else:
            trace_id, _, _, flags, state, _ = parent
            sampled = flags & _SAMPLED if self._parent_based else trace_id & _LOW_BITS < self._bound
            span_id = self._bits(64) or 1
        if not sampled:
            dropped = new_span_context(SpanContext, (trace_id, span_id, False, _FLAGS[flags & _RANDOM], state, True))
            return unsampled_span(dropped)
        if scope is not None:
            told = scope.told
            if told is None:
                told = scope.telling()
            if told:
                own = {**told, **own}
        span = _new(ClientSpan)
        # of the parent's flags only that its ids are random is passed on
        flags = _FLAGS[flags & _RANDOM | _SAMPLED]
        span.context = new_span_context(SpanContext, (trace_id, span_id, False, flags, state, True))
        span.common = self._attributes
        span.own = own
        span._seen = span._rare = span.end_time = None  # noqa: SLF001 - this is the constructor
        span._plain = True  # noqa: SLF001 - as above
        span.name = self._name
        span.parent = parent
        span.kind = self._kind
        span.resource = processors.resource
        span.instrumentation_scope = self._scope
        span._processors = processors  # noqa: SLF001 - as above
        span.start_time = time_ns()
        return span


__all__ = ["ClientSpan", "ClientSpans", "encoded"]
