# pyright: reportIncompatibleVariableOverride=false, reportIncompatibleMethodOverride=false
# (a property where the lean span has a slot: it is put together when somebody reads it)
"""The span of a request: current while the application runs, but put together only where somebody looks at it.

Most of its attributes are alike in all requests of one route. Where nobody has read or written any of them, they are
never copied: the exporter is given what is alike as it was encoded once, and what is this request's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry.trace import SpanContext, SpanKind
from opentelemetry.util.types import AnyValue

from otel_distro.context import NOTHING, Told

from .common import PlainSpan, Shared

if TYPE_CHECKING:
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    from .common import Common
    from .processors import Processors

_new = object.__new__


class Facts(Protocol):
    """What a span has to itself, before it is brought into the form of attributes."""

    @property
    def most(self) -> int:
        """How many attributes there may be."""
        ...

    def shared(self) -> Shared:
        """The attributes that others have as well, clean."""
        ...

    def own(self) -> dict[str, AnyValue]:
        """The others, clean, in a new dictionary."""
        ...


class _Nothing:
    most = 0

    def shared(self) -> Shared:
        return _NO_SHARED

    def own(self) -> dict[str, AnyValue]:
        return {}


_NO_SHARED = Shared(NOTHING)
_NO_FACTS = _Nothing()


class LateSpan(PlainSpan):
    """A lean span that learns its name and its attributes when somebody asks for them, or at its end.

    Attributes:
        word: the first word of its name, or all of it.
        route: the rest of its name and its `http.route`, None as long as there is none.
        common: attributes that others have as well.
        facts: what it has to itself, of other keys.
    """

    __slots__ = ("_given_name", "_told", "common", "facts", "route", "word")

    word: str
    route: str | None
    common: Mapping[str, AnyValue]
    facts: Facts
    _told: Mapping[str, AnyValue]
    _given_name: str | None

    @property
    def name(self) -> str:
        """What the application called it, else what is known of it by now."""
        if self._given_name is not None:
            return self._given_name
        return self.word if self.route is None else f"{self.word} {self.route}"

    @name.setter
    def name(self, name: str) -> None:
        self._given_name = name
        self._plain = False

    @property
    def attributes(self) -> dict[str, AnyValue]:
        """All of them, which from now on are the span's own."""
        seen = self._seen
        if seen is None:
            self._plain = False
            seen = self._seen = {**self.common, **self.facts.shared(), **self.facts.own(), **self._told}
            if self.route is not None:
                seen["http.route"] = self.route
        return seen

    @attributes.setter
    def attributes(self, attributes: dict[str, AnyValue]) -> None:
        self._seen = attributes
        self._plain = False

    def reach(self, route: str) -> None:
        """The request has been routed."""
        self.route = route
        if self._seen is not None:
            self._seen["http.route"] = route

    def tell(self, attributes: Mapping[str, AnyValue]) -> None:
        """Add attributes of ours: clean, not those of `common`, in a mapping that does not change any more."""
        if self._seen is not None:
            self._seen.update(attributes)
        else:
            self._told = {**self._told, **attributes} if self._told else attributes

    def conclude(self, common: Common, end_time: int, more: Mapping[str, AnyValue] = NOTHING) -> bool:
        """End without ever having been put together, where nobody has looked and nobody wants to.

        Args:
            common: name and attributes of such spans.
            end_time: nanoseconds since the epoch.
            more: further attributes, clean, in a mapping that does not change any more; in a dictionary of no further
                class where their names cannot be those of others.

        Returns:
            False, and nothing has happened, where it has to be ended as every span.
        """
        if self._told:
            more = Told({**self._told, **more})
        processors, facts = self._processors, self.facts
        taker = processors.brief
        if taker is None or not self._plain or common.size + len(more) + facts.most > processors.room:
            return False
        shared, own = facts.shared(), facts.own()
        if more:
            # only such names can be those of the request's own attributes
            if more.__class__ is not dict and not (common.keys | shared.keys() | own.keys()).isdisjoint(more):
                return False
            own.update(more)
        ids: Any = self.context
        encoded = common.finished(taker)(ids[0], ids[1], self.parent, self.start_time, end_time, own, shared)
        # no call stands between these two lines; see `LeanSpan.finish`
        if self.end_time is not None or not self._plain:
            return False
        self.end_time = end_time
        self.common, self._told = common.attributes, more
        taker.take((self.resource, self.instrumentation_scope, encoded))
        return True


def late_span(  # noqa: PLR0917 - as `new_span`
    name: str,
    context: SpanContext,
    parent: SpanContext | None,
    kind: SpanKind,
    start_time: int,
    attributes: dict[str, AnyValue],
    scope: InstrumentationScope,
    processors: Processors,
) -> LateSpan:
    """A span that records and knows nothing of itself yet; `attributes` are those of who is around it, not its own."""
    del attributes
    span = _new(LateSpan)
    span.context = context
    span.parent = parent
    span.kind = kind
    span.start_time = start_time
    span.word = name
    span.common = NOTHING
    span.facts = _NO_FACTS
    span._told = NOTHING  # noqa: SLF001 - this is the constructor
    span._plain = True  # noqa: SLF001
    span.route = span._given_name = span._seen = span._rare = None  # noqa: SLF001
    # the rest as `new_span`, written out: a call would cost more than the lines
    span.end_time = None
    span.resource = processors.resource
    span.instrumentation_scope = scope
    span._processors = processors  # noqa: SLF001
    return span


__all__ = ["LateSpan", "late_span"]
