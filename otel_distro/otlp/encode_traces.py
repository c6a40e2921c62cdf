"""Spans as an OTLP `ExportTraceServiceRequest`, without a protobuf object in between (trace.proto)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import DEFAULT_TRACE_STATE, SpanKind
from opentelemetry.trace.status import StatusCode

from otel_distro.guard import let_through

from ._batch import CHUNK, PROTOBUF, Encoded, Piece
from ._groups import Envelopes, joined
from ._values import KeyValues
from ._wire import count_field, delimited, fixed64, text_field, varint

if TYPE_CHECKING:
    from _typeshed import SupportsItems
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.trace import Link, SpanContext, Status, TraceState

    from otel_distro.tracing.brief import Finished, FinishedAll

    from ._values import Values

_NAMES_KEPT = 1024
_LONGEST_NAME = 256

# tag and length of the three ids; tag of each number
_TRACE_ID, _SPAN_ID, _PARENT_ID = b"\x0a\x10", b"\x12\x08", b"\x22\x08"
_KIND, _START, _END = 0x30, 0x39, 0x41
_TIMES = struct.Struct("<BBBQBQ").pack

# SpanFlags: bit 8 says that bit 9, "the parent (or the linked span) is remote", is known; as upstream, no trace flags
_LOCAL, _REMOTE = b"\x85\x01\x00\x01\x00\x00", b"\x85\x01\x00\x03\x00\x00"
_LINK_LOCAL, _LINK_REMOTE = b"\x35\x00\x01\x00\x00", b"\x35\x00\x03\x00\x00"

_TO_BYTES: Callable[..., bytes] = int.to_bytes
_FIRST, _SECOND = itemgetter(0), itemgetter(1)

_SERVER, _CLIENT = SpanKind.SERVER, SpanKind.CLIENT
_UNSET, _OK = StatusCode.UNSET, StatusCode.OK
_UNSET_STATUS, _OK_STATUS = b"\x7a\x00", b"\x7a\x02\x18\x01"


class SpanEncoder:
    """Encodes finished spans: upstream's `ReadableSpan`, or anything with its public fields.

    Equal to what opentelemetry-exporter-otlp-proto-common 1.45.1 makes, and with the tracestate of links, which that
    leaves out. Where it raises and so loses the batch, a field is replaced (times and counts outside their range by the
    nearest possible, ids by their lower bits, values as `any_value` says) or left out. What is kept is bounded.

    Attributes:
        said: encodes what the application said, see `KeyValues.said`.
    """

    signal = "traces"
    content_type = PROTOBUF

    def __init__(self) -> None:
        self._attributes = KeyValues(b"\x4a", private=True)
        self.said = self._attributes.said
        self._event_attributes = KeyValues(b"\x1a", private=True)
        self._link_attributes = KeyValues(b"\x22", private=True)
        self._names: dict[str, bytes] = {}
        # of the span before
        self._family: tuple[SpanContext | None, bytes, bytes] = (None, b"", b"")
        self._told: tuple[SupportsItems[str, Any], bytes] = ({}, b"")
        self._envelopes = Envelopes()

    def encode(self, data: Sequence[ReadableSpan], breathe: Callable[[], object] | None = None) -> Encoded:
        """Encode `data` as one request, grouped by resource and scope; `breathe` is called after every 64 spans."""
        pieces = []
        for number, span in enumerate(data, 1):
            pieces.append(self.piece(span))
            if not number % CHUNK and breathe is not None and number < len(data):
                breathe()
        return self.join(pieces)

    def piece(self, span: ReadableSpan) -> Piece:
        """One span's part of a request; may be called from any thread, and never raises."""
        try:
            return span.resource, span.instrumentation_scope, self._span(span)
        except Exception as raised:  # noqa: BLE001 - a field is not what it should be
            let_through(raised)
            resource, scope = getattr(span, "resource", None), getattr(span, "instrumentation_scope", None)
            return resource, scope, self._odd_span(span)

    def finisher(self, name: str, kind: SpanKind, attributes: Mapping[str, Any]) -> tuple[Finished, FinishedAll]:
        """Encodes spans of which everything is known beforehand but ids, times and few attributes.

        Two functions in one, because what both close over would cost every span a look-up.

        Args:
            name: of the spans.
            kind: likewise.
            attributes: of all of them, clean.

        Returns:
            A function of trace id, span id, parent, start and end (nanoseconds since the epoch), further attributes
            (clean, of other keys, no longer changed) and such that are encoded already, which gives what `piece`
            gives for a span without status, events and links. It raises where a number does not fit. And a function of
            columns of all these, further attributes all encoded, for many spans.
        """
        called, last = self._name(name), self._attributes.encoded(attributes) + _UNSET_STATUS
        number = kind.value + 1
        join, times, encoded = b"".join, _TIMES, self._attributes.encoded

        def finished(  # noqa: PLR0917 - keywords would cost what the short way saves
            trace_id: int,
            span_id: int,
            parent: SpanContext | None,
            start: int,
            end: int,
            more: Mapping[str, Any],
            others: bytes | None = None,
        ) -> bytes:
            if parent is None:
                trace, above = trace_id.to_bytes(16, "big"), _LOCAL
            else:
                known, trace, above = self._family
                if known is not parent:
                    trace, above = self._meet(trace_id, parent)
            if others is None:
                told, further = self._told
                if told is not more:
                    further = encoded(more)
                    self._told = (more, further)
            else:
                further = others + encoded(more) if more else others
            stamp = times(_KIND, number, _START, start, _END, end)
            span = span_id.to_bytes(8, "big")
            return join((_TRACE_ID, trace, _SPAN_ID, span, above, stamp, called, further, last))

        def finished_all(
            ids: Sequence[Sequence[int]],
            parents: Sequence[SpanContext | None],
            starts: Sequence[int],
            ends: Sequence[int],
            *others: Iterable[bytes],
        ) -> list[bytes]:
            # no loop but of the interpreter's own functions: each step of it once for all spans
            traces: Iterable[bytes]
            above: Iterable[bytes]
            if parents.count(None) == len(parents):
                traces, above = map(_TO_BYTES, map(_FIRST, ids), repeat(16), repeat("big")), repeat(_LOCAL)
            else:
                traces, above = zip(*map(self._above, map(_FIRST, ids), parents), strict=True)
            spans = map(_TO_BYTES, map(_SECOND, ids), repeat(8), repeat("big"))
            stamps = map(times, repeat(_KIND), repeat(number), repeat(_START), starts, repeat(_END), ends)
            rows = zip(
                repeat(_TRACE_ID), traces, repeat(_SPAN_ID), spans, above, stamps, repeat(called), *others, repeat(last)
            )  # fmt: skip
            return list(map(join, rows))

        return finished, finished_all

    def attributes(self, attributes: Mapping[str, Any]) -> bytes:
        """Attributes of a span, which are clean, encoded."""
        return self._attributes.encoded(attributes)

    def all_attributes(self, several: Iterable[Mapping[str, Any]]) -> list[bytes]:
        """`attributes` of each; one that comes several times in a row is encoded once."""
        encoded, parts = self._attributes.encoded, []
        before: object = None
        found = b""
        for attributes in several:
            if attributes is not before:
                found, before = encoded(attributes), attributes
            parts.append(found)
        return parts

    def names(self) -> Collection[str] | None:
        """Names that attributes of spans and links have had so far; None where there were too many to know."""
        own, links = self._attributes.names(), self._link_attributes.names()
        if not links:
            return None if links is None else own
        return None if own is None else {*own, *links}

    def texts(self, key: str) -> Values:
        """The encoded attributes of one key by text; see `KeyValues.values`."""
        return self._attributes.values(key)

    def text_heads(self, key: str) -> Sequence[bytes]:
        """What stands before a text of this key that will not come again; see `KeyValues.heads`."""
        return self._attributes.heads(key)

    def _above(self, trace_id: int, parent: SpanContext | None) -> tuple[bytes, bytes]:
        """The trace's id, and what a span has of its parent."""
        if parent is None:
            return trace_id.to_bytes(16, "big"), _LOCAL
        known, trace, above = self._family
        return (trace, above) if known is parent else self._meet(trace_id, parent)

    def _meet(self, trace_id: int, parent: SpanContext) -> tuple[bytes, bytes]:
        """What spans under one parent have in common: a request that calls often calls again next."""
        _, parent_id, remote, _, state, _ = parent
        trace = trace_id.to_bytes(16, "big")
        above = _PARENT_ID + parent_id.to_bytes(8, "big") + (_REMOTE if remote else _LOCAL)
        if state is not DEFAULT_TRACE_STATE:
            above += _trace_state(state)
        # one tuple in one step: whoever reads it meanwhile has the whole of the one before
        self._family = (parent, trace, above)
        return trace, above

    def join(self, pieces: Sequence[Piece]) -> Encoded:
        """The request of these pieces, grouped by resource and scope."""
        return joined(pieces, self._envelopes)

    def _span(self, span: ReadableSpan) -> bytes:
        """One span whose fields have the types and ranges they should have; raises where they have not."""
        # a SpanContext is a tuple: one step instead of a call for each property
        context: Any = span.context
        trace_id, span_id, _, _, trace_state, _ = context
        parts = [_TRACE_ID, trace_id.to_bytes(16, "big"), _SPAN_ID, span_id.to_bytes(8, "big")]
        parent: Any = span.parent
        if parent:
            _, parent_id, remote, _, _, _ = parent
            parts += _PARENT_ID, parent_id.to_bytes(8, "big"), _REMOTE if remote else _LOCAL
        else:
            parts.append(_LOCAL)
        kind = span.kind
        number = 2 if kind is _SERVER else 3 if kind is _CLIENT else kind.value + 1 & 0x7F
        parts.append(_TIMES(_KIND, number, _START, span.start_time, _END, span.end_time))
        name = span.name
        parts.append(self._names.get(name) or self._name(name))
        attributes = span.attributes
        if attributes:
            self._attributes.extend(parts, attributes)
        if trace_state:
            parts.append(_trace_state(trace_state))
        if span.events:
            parts += [self._event(event) for event in span.events]
        if span.links:
            parts += [self._link(link) for link in span.links]
        if span.dropped_attributes or span.dropped_events or span.dropped_links:
            parts += _dropped(span)
        status = span.status
        parts.append(_UNSET_STATUS if status.status_code is _UNSET else _status(status))
        return b"".join(parts)

    def _name(self, name: str) -> bytes:
        encoded = delimited(b"\x2a", str.encode(name))
        if len(name) <= _LONGEST_NAME:
            if len(self._names) >= _NAMES_KEPT:
                self._names.clear()
            self._names[name] = encoded
        return encoded

    def _event(self, event: Event) -> bytes:
        payload = b"\x09" + fixed64(event.timestamp) + text_field(b"\x12", event.name)
        payload += self._event_attributes.encoded(event.attributes)
        return delimited(b"\x5a", payload + count_field(b"\x20", event.dropped_attributes))

    def _link(self, link: Link) -> bytes:
        context = link.context
        payload = _TRACE_ID + _id(context.trace_id, 16) + _SPAN_ID + _id(context.span_id, 8)
        payload += _trace_state(context.trace_state) + self._link_attributes.encoded(link.attributes)
        payload += count_field(b"\x28", link.dropped_attributes)
        return delimited(b"\x6a", payload + (_LINK_REMOTE if context.is_remote else _LINK_LOCAL))

    def _odd_span(self, span: Any) -> bytes:
        """A span with a field that does not fit: that field is replaced or left out. Empty when it has no ids.

        Parent, kind and times have their places in any case: Sentry's stamp finds the name by them.
        """
        try:
            context = span.context
            ids = _TRACE_ID + _id(context.trace_id, 16) + _SPAN_ID + _id(context.span_id, 8)
        except Exception as raised:  # noqa: BLE001 - without ids no backend can place it
            let_through(raised)
            return b""
        beginning = (
            _tolerant(lambda: _parent(span.parent), _LOCAL),
            _tolerant(lambda: bytes((_KIND, span.kind.value + 1 & 0x7F)), bytes((_KIND, 0))),
            _tolerant(lambda: bytes((_START,)) + fixed64(int(span.start_time or 0)), bytes((_START,)) + bytes(8)),
            _tolerant(lambda: bytes((_END,)) + fixed64(int(span.end_time or 0)), bytes((_END,)) + bytes(8)),
        )
        fields: tuple[Callable[[], bytes], ...] = (
            lambda: text_field(b"\x2a", span.name),
            lambda: self._attributes.encoded(span.attributes),
            lambda: _trace_state(context.trace_state),
            lambda: b"".join([_tolerant(lambda: self._event(event)) for event in span.events]),  # noqa: B023 - called at once
            lambda: b"".join([_tolerant(lambda: self._link(link)) for link in span.links]),  # noqa: B023 - called at once
            lambda: b"".join(_dropped(span)),
            lambda: _status(span.status),
        )
        return ids + b"".join([*beginning, *[_tolerant(field) for field in fields]])


def _tolerant(encode: Callable[[], bytes], otherwise: bytes = b"") -> bytes:
    try:
        return encode()
    except Exception as raised:  # noqa: BLE001 - this field is left out, the rest of the span stands
        let_through(raised)
        return otherwise


def _id(number: int, length: int) -> bytes:
    return (number & (1 << 8 * length) - 1).to_bytes(length, "big")


def _trace_state(state: TraceState | None) -> bytes:
    return text_field(b"\x1a", ",".join([f"{key}={value}" for key, value in state.items()])) if state else b""


def _dropped(span: Any) -> Iterator[bytes]:
    yield count_field(b"\x50", span.dropped_attributes)
    yield count_field(b"\x60", span.dropped_events)
    yield count_field(b"\x70", span.dropped_links)


def _status(status: Status | None) -> bytes:
    if status is None:
        return b""
    if status.status_code is _OK and not status.description:
        return _OK_STATUS
    message = text_field(b"\x12", status.description)
    return delimited(b"\x7a", message + b"\x18" + varint(status.status_code.value))


def _parent(parent: SpanContext | None) -> bytes:
    if not parent:
        return _LOCAL
    return _PARENT_ID + _id(parent.span_id, 8) + (_REMOTE if parent.is_remote else _LOCAL)
