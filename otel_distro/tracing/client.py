# pyright: reportIncompatibleVariableOverride=false
"""The span of a call to another service: current while the call runs, but put together only where somebody looks at it.

What it has beyond its ids is alike in all calls to one place that were answered alike. As long as nobody has looked,
the exporter is given that as it was encoded once, and the few attributes that are the call's own.
"""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind
from opentelemetry.util.types import AnyValue

from .common import Common, PlainSpan
from .processors import Processors

_new = object.__new__
_NOTHING: Mapping[str, AnyValue] = {}


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

        Args:
            alike: name and attributes of such spans.
            end_time: nanoseconds since the epoch.

        Returns:
            False, and nothing has happened, where somebody has looked at it or wants to, or its own attributes are
            among those of others: then it has to be ended as every span.
        """
        processors, own = self._processors, self.own
        taker, common = processors.brief, alike.attributes
        if (
            taker is None
            or not self._plain
            or self.end_time is not None
            or self.name is not alike.name
            or len(own) + len(common) > processors.room
            or (len(own) > 1 and not own.keys().isdisjoint(common))
        ):
            return False
        trace_id, span_id, _, _, _, _ = self.context
        encoded = alike.finished(taker)(trace_id, span_id, self.parent, self.start_time, end_time, own)
        self.end_time = end_time
        self.common = common
        taker.take((processors.resource, self.instrumentation_scope, encoded))
        return True


def client_span(  # noqa: PLR0917 - as `new_span`
    name: str,
    context: SpanContext,
    parent: SpanContext | None,
    kind: SpanKind,
    start_time: int,
    attributes: dict[str, AnyValue],
    scope: InstrumentationScope,
    processors: Processors,
) -> ClientSpan:
    """A span that records and is not put together; the caller sets its `common`."""
    span = _new(ClientSpan)
    span.common = _NOTHING
    span.own = attributes
    span._seen = span._rare = None  # noqa: SLF001 - this is the constructor
    span._plain = True  # noqa: SLF001
    # the rest as `new_span`, written out: a call would cost more than the lines
    span.name = name
    span.context = context
    span.parent = parent
    span.kind = kind
    span.start_time = start_time
    span.end_time = None
    span.resource = processors.resource
    span.instrumentation_scope = scope
    span._processors = processors  # noqa: SLF001
    return span


__all__ = ["ClientSpan", "client_span"]
