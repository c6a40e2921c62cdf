# pyright: reportIncompatibleVariableOverride=false, reportIncompatibleMethodOverride=false
# (a property where the lean span has a slot: it is put together when somebody reads it)
"""The span of a request: current while the application runs, but put together only where somebody looks at it.

Most of its attributes are alike in all requests of one route. Where nobody has read or written any of them, they are
never copied: the exporter is given what is alike as it was encoded once, and what is this request's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry.util.types import AnyValue

from otel_distro.context import NOTHING, USER_NAMES, UserFields, Value, attributes_of
from otel_distro.guard import let_through
from otel_distro.ledger import FEW

from .common import PlainSpan

if TYPE_CHECKING:
    from .brief import TakesBrief
    from .common import Common

MOST_FACTS = 6
"""How many attributes a span may have to itself."""
_MOST_OTHERS = MOST_FACTS + len(USER_NAMES)
_FIELDS = attrgetter(
    "context", "parent", "start_time", "end_time", "facts", "_told", "_said", "resource", "instrumentation_scope"
)

Piece = tuple[Any, Any, bytes]
"""A span's resource, its instrumentation scope and its bytes."""


class Alike(Protocol):
    """What a span has in common with others from its start on; it understands what the span has to itself."""

    @property
    def word(self) -> str:
        """The first word of its name, or all of it."""
        ...

    @property
    def attributes(self) -> Mapping[str, AnyValue]:
        """Clean, and not to be written to."""
        ...

    def own_attributes(self, facts: Any) -> dict[str, AnyValue]:
        """What a span has to itself as attributes of other keys, `MOST_FACTS` at most, clean, in a new dictionary."""
        ...

    def own_encoded(self, facts: Any, taker: TakesBrief) -> bytes:
        """The same as `taker` has them."""
        ...

    def all_own_encoded(self, facts: Sequence[Any], taker: TakesBrief) -> tuple[Iterable[bytes], ...]:
        """The same of many spans, in columns; may raise where one is odd."""
        ...


class _NothingAlike:
    word = ""
    attributes = NOTHING

    def own_attributes(self, facts: Any) -> dict[str, AnyValue]:
        return {}

    def own_encoded(self, facts: Any, taker: TakesBrief) -> bytes:
        return b""

    def all_own_encoded(self, facts: Sequence[Any], taker: TakesBrief) -> tuple[Iterable[bytes], ...]:
        return ()


NOTHING_ALIKE = _NothingAlike()
"""What a span has in common with others before it is told."""


class LateSpan(PlainSpan):
    """A lean span that learns its name and its attributes when somebody asks for them, or at its end.

    Attributes:
        alike: what others have as well.
        route: the rest of its name and its `http.route`, None as long as there is none.
        facts: what it has to itself, in a form that `alike` understands.
    """

    __slots__ = ("_common", "_given_name", "_said", "_told", "alike", "facts", "route")

    alike: Alike
    route: str | None
    facts: Any
    _common: Mapping[str, AnyValue] | None
    _told: Mapping[str, AnyValue]
    _given_name: str | None
    _said: tuple[UserFields | None, Mapping[str, Value]] | None

    @property
    def name(self) -> str:
        """What the application called it, else what is known of it by now."""
        if self._given_name is not None:
            return self._given_name
        word = self.alike.word
        return word if self.route is None else f"{word} {self.route}"

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
            common = self.alike.attributes if self._common is None else self._common
            seen = self._seen = {**common, **self.alike.own_attributes(self.facts), **self._told}
            if self.route is not None:
                seen["http.route"] = self.route
            if self._said is not None:
                # whoever says something of that name means it
                seen.update(attributes_of(*self._said))
        return seen

    @attributes.setter
    def attributes(self, attributes: dict[str, AnyValue]) -> None:
        self._seen = attributes
        self._plain = False

    def reach(self, route: str) -> None:
        """The request has been routed; an `http.route` of the application's own stays."""
        if self._seen is not None and self._seen.get("http.route", self.route) == self.route:
            self._seen["http.route"] = route
        self.route = route

    def tell(self, attributes: Mapping[str, AnyValue]) -> None:
        """Add attributes of ours: clean, not those of others, in a mapping that does not change any more."""
        if self._seen is not None:
            self._seen.update(attributes)
        else:
            self._told = {**self._told, **attributes} if self._told else attributes

    def conclude(
        self, common: Common, end_time: int, user: UserFields | None = None, values: Mapping[str, Value] = NOTHING
    ) -> bool:
        """End without ever having been put together, where nobody has looked and nobody wants to.

        The caller has to put it into the ledger of `common.taker`.

        Args:
            common: name and attributes of such spans.
            end_time: nanoseconds since the epoch.
            user: for whom the request is, None where nobody has said.
            values: what else the application said of it, by its own keys; must not change.

        Returns:
            False, and nothing has happened, where it has to be ended as every span.
        """
        processors = self._processors
        taker = processors.brief
        if taker is None or common.size + len(self._told) + len(values) + _MOST_OTHERS > processors.room:
            return False
        if common.taker is not taker:
            common.meet(taker)
        # no call stands between these two lines; see `LeanSpan.finish`
        if self.end_time is not None or not self._plain:
            return False
        self.end_time = end_time
        self._common = common.attributes
        if values or user is not None:
            self._said = (user, values)
        return True


def encoded(common: Common, spans: Sequence[LateSpan]) -> list[Piece]:
    """The pieces of spans that were concluded with `common`, and begun alike."""
    if len(spans) >= FEW:
        try:
            return _all_encoded(common, spans)
        except Exception as error:  # noqa: BLE001 - one of them is not like the others
            let_through(error)
    return [_encoded(common, span) for span in spans]


def _all_encoded(common: Common, spans: Sequence[LateSpan]) -> list[Piece]:
    taker: Any = common.taker
    number = len(spans)
    ids, parents, starts, ends, facts, told, said, resources, scopes = zip(*map(_FIELDS, spans), strict=True)
    others = spans[0].alike.all_own_encoded(facts, taker)
    encoder = taker.span_encoder
    if said.count(None) != number:
        # None, which is no bytes, where names may be those of the request's own attributes
        others += ([b"" if each is None else encoder.said(*each, b"") for each in said],)
    if told.count(NOTHING) != number:
        others += (encoder.all_attributes(told),)
    return list(zip(resources, scopes, common.finish_all(ids, parents, starts, ends, *others), strict=True))


def _encoded(common: Common, span: LateSpan) -> Piece:
    taker: Any = common.taker
    encoder = taker.span_encoder
    try:
        others: bytes | None = span.alike.own_encoded(span.facts, taker)
        if span._said is not None:  # noqa: SLF001 - a part of that class
            others = encoder.said(*span._said, others)  # noqa: SLF001
        if others is not None:
            ids: Any = span.context
            told = span._told  # noqa: SLF001
            finished = common.finish(ids[0], ids[1], span.parent, span.start_time, span.end_time, told, others)  # type: ignore[arg-type]
            return span.resource, span.instrumentation_scope, finished
    except Exception as error:  # noqa: BLE001 - as a whole, whatever is wrong with it, it has a form
        let_through(error)
    piece: Piece = encoder.piece(span)
    return piece


__all__ = ["NOTHING_ALIKE", "Alike", "LateSpan", "Piece", "encoded"]
