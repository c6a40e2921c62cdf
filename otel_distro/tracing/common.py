"""What the lean spans of servers and clients share that are put together only where somebody looks."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode
from opentelemetry.util.types import AnyValue, Attributes

from .brief import Finished, TakesBrief
from .span import LeanSpan


class Common:
    """What spans have in common that ended alike.

    Args:
        name: of the spans.
        kind: likewise.
        attributes: of all of them; clean, and not to be written to.
    """

    __slots__ = ("_finished", "_kind", "_taker", "attributes", "keys", "name", "size")

    _finished: Finished

    def __init__(self, name: str, kind: SpanKind, attributes: Mapping[str, AnyValue]) -> None:
        self.name = name
        self.attributes = attributes
        self.size = len(attributes)
        self.keys = attributes.keys()
        self._kind = kind
        self._taker: TakesBrief | None = None

    def finished(self, taker: TakesBrief) -> Finished:
        """What encodes such a span for `taker`."""
        if taker is not self._taker:
            self._finished = taker.finisher(self.name, self._kind, self.attributes)
            self._taker = taker
        return self._finished


class PlainSpan(LeanSpan):
    """A lean span that knows whether anybody has given it more than its maker."""

    __slots__ = ("_plain", "_seen")

    _plain: bool
    _seen: dict[str, AnyValue] | None

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


__all__ = ["Common", "PlainSpan"]
