"""What the lean spans of servers and clients share that are put together only where somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode
from opentelemetry.util.types import AnyValue, Attributes

from .brief import Finished, FinishedAll, Ids, TakesBrief
from .span import RECORD_AND_STATUS, UNSET, LeanSpan


def ids_of(spans: Sequence[LeanSpan]) -> Callable[[int], Ids]:
    """What tells the ids of these spans by their number."""

    def ids(index: int) -> Ids:
        found: Any = spans[index].context
        return found[0], found[1]

    return ids


class Common:
    """What spans have in common that ended alike.

    Args:
        name: of the spans.
        kind: likewise.
        attributes: of all of them; clean, and not to be written to.

    Attributes:
        size: how many attributes those are.
        taker: for whom `finish` encodes such a span and `finish_all` many, None as long as nobody has called `meet`.
    """

    __slots__ = ("_kind", "attributes", "finish", "finish_all", "name", "size", "taker")

    finish: Finished
    finish_all: FinishedAll

    def __init__(self, name: str, kind: SpanKind, attributes: Mapping[str, AnyValue]) -> None:
        self.name = name
        self.attributes = attributes
        self.size = len(attributes)
        self._kind = kind
        self.taker: TakesBrief | None = None

    def meet(self, taker: TakesBrief) -> None:
        """Encode such spans for `taker` from now on."""
        self.finish, self.finish_all = taker.span_encoder.finisher(self.name, self._kind, self.attributes)
        self.taker = taker


class _Rare:
    """A field that hardly any span of a kind sets: it has its default until then, and costs no span a step."""

    def __init__(self, default: object) -> None:
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, span: PlainSpan | None, owner: type | None = None) -> Any:
        rare = None if span is None else span._rare  # noqa: SLF001 - a part of that class
        return self._default if rare is None else rare.get(self._name, self._default)

    def __set__(self, span: PlainSpan, value: object) -> None:
        if span._rare is None:  # noqa: SLF001 - as above
            span._rare = {}  # noqa: SLF001 - as above
        span._rare[self._name] = value  # noqa: SLF001 - as above


def _rarely(default: object) -> Any:
    return _Rare(default)


class PlainSpan(LeanSpan):
    """A lean span that knows whether anybody has given it more than its maker."""

    __slots__ = ("_plain", "_rare", "_seen")

    _plain: bool
    _rare: dict[str, Any] | None
    _seen: dict[str, AnyValue] | None

    status = _rarely(UNSET)
    dropped_attributes = _rarely(0)
    dropped_events = _rarely(0)
    dropped_links = _rarely(0)
    _own_events = _rarely(None)
    _own_links = _rarely(None)
    _on_exception = _rarely(RECORD_AND_STATUS)

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        """See `LeanSpan.add_event`."""
        self._plain = False
        super().add_event(name, attributes, timestamp)

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """See `LeanSpan.add_link`."""
        self._plain = False
        super().add_link(context, attributes)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """See `LeanSpan.set_status`."""
        self._plain = False
        super().set_status(status, description)


__all__ = ["Common", "PlainSpan", "ids_of"]
