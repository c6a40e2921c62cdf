"""Log records as an OTLP `ExportLogsServiceRequest`, without protobuf objects (logs.proto)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from otel_distro._compat import FLAGS, SPAN_ID, TRACE_ID
from otel_distro.guard import let_through

from ._batch import CHUNK, PROTOBUF, Encoded, Piece
from ._groups import Envelopes, joined
from ._values import KeyValues, any_value
from ._wire import UINT64_MAX, count_field, delimited, fixed32, fixed64, text_field, utf8, varint

_SEVERITIES_KEPT = 64
_BOTH_TIMES = struct.Struct("<BQBQ").pack


class LogEncoder:
    """Encodes upstream's `ReadableLogRecord`, or anything with its public fields.

    Equal to what opentelemetry-exporter-otlp-proto-common 1.45.1 makes. Where that raises and so loses the batch, a
    field is replaced (times and counts by the nearest possible, values as `any_value` says), or the record is left
    out and counted. What is kept between calls is bounded.
    """

    signal = "logs"
    content_type = PROTOBUF

    def __init__(self) -> None:
        self._attributes = KeyValues(b"\x32", private=True)
        self._envelopes = Envelopes()
        self._severities: dict[Any, tuple[Any, bytes]] = {}
        self._ids: tuple[Any, bytes] = (None, b"")
        self._span: tuple[Any, bytes] = (None, b"")
        self._told: tuple[Any, bytes] = (None, b"")

    def encode(self, data: Sequence[Any], breathe: Callable[[], object] | None = None) -> Encoded:
        """Encode `data` as one request, grouped by resource and scope; `breathe` is called after every 64 records."""
        pieces = []
        for number, readable in enumerate(data, 1):
            pieces.append(self.piece(readable))
            if not number % CHUNK and breathe is not None and number < len(data):
                breathe()
        return self.join(pieces)

    def piece(self, readable: Any) -> Piece:
        """One record's part of a request; may be called from any thread, and never raises."""
        try:
            return readable.resource, readable.instrumentation_scope, self._record(readable)
        except Exception as raised:  # noqa: BLE001 - not even a log record
            let_through(raised)
            return None, None, b""

    def severity(self, number: Any, text: str) -> bytes:
        """Both fields of a severity, for `plain`."""
        return self._severity(number, text)[1]

    def plain(  # noqa: PLR0917 - names of arguments cost
        self,
        moment: int,
        severity: bytes,
        body: str,
        told: Mapping[str, Any] | None,
        fields: Mapping[str, Any] | None,
        span: Any,
    ) -> bytes:
        """One record's bytes in a request, without tag and length, from the parts that most records have; never raises.

        Args:
            moment: nanoseconds since the epoch, when it was made and observed.
            severity: as `severity` gives it.
            body: the message.
            told: attributes that many records have in common; the same object each time, never changed.
            fields: the record's own attributes, none of them in `told`.
            span: the context of the current span, None outside a trace.
        """
        try:
            encoded = body.encode()
        except UnicodeEncodeError:
            encoded = utf8(body)
        size = len(encoded)
        parts = [
            _BOTH_TIMES(0x09, moment, 0x59, moment) if 0 < moment <= UINT64_MAX else _times(moment, moment),
            severity,
            _BODIES[size] if size < _SHORT else _body_head(size),
            encoded,
        ]
        try:
            if told:
                # those of one request are alike
                known = self._told
                if known[0] is not told:
                    self._told = known = told, self._attributes.encoded(told)
                parts.append(known[1])
            if fields:
                self._attributes.extend(parts, fields)
            if span is not None:
                known = self._span
                if known[0] is not span:
                    self._span = known = span, _ids(span[FLAGS], span[TRACE_ID], span[SPAN_ID])
                parts.append(known[1])
        except Exception as raised:  # noqa: BLE001 - not even a log record
            let_through(raised)
            return b""
        return b"".join(parts)

    def join(self, pieces: Sequence[Piece]) -> Encoded:
        """The request of these pieces, grouped by resource and scope."""
        return joined(pieces, self._envelopes)

    def _record(self, readable: Any) -> bytes:
        record = readable.log_record
        number, body = record.severity_number, record.body
        # by the text alone: an enum's hash is a call, and two numbers hardly ever share a text
        severity = self._severities.get(record.severity_text)
        if severity is None or severity[0] is not number:
            severity = self._severity(number, record.severity_text)
        parts = [_times(record.timestamp, record.observed_timestamp), severity[1]]
        if body.__class__ is str:
            encoded = utf8(body)
            parts += _body_head(len(encoded)), encoded
        else:
            parts.append(delimited(b"\x2a", any_value(body)))
        if record.attributes:
            self._attributes.extend(parts, record.attributes)
        if readable.dropped_attributes:
            parts.append(count_field(b"\x38", readable.dropped_attributes))
        if record.trace_id or record.span_id or record.trace_flags:
            # one request's records mostly come one after the other
            ids = record.trace_flags, record.trace_id, record.span_id
            known = self._ids
            if known[0] != ids:
                self._ids = known = ids, _ids(*ids)
            parts.append(known[1])
        if record.event_name:
            parts.append(text_field(b"\x62", record.event_name))
        return b"".join(parts)

    def _severity(self, severity: Any, text: Any) -> tuple[Any, bytes]:
        number = getattr(severity, "value", None)
        encoded = b"\x10" + varint(number) if isinstance(number, int) and number > 0 else b""
        known = severity, encoded + text_field(b"\x1a", text)
        if len(self._severities) < _SEVERITIES_KEPT:
            self._severities[text] = known
        return known


def _body_head(size: int) -> bytes:
    """What stands before a text of `size` bytes that is a record's body: tags and lengths of `AnyValue` and text."""
    length = varint(size)
    return b"\x2a" + varint(size + len(length) + 1) + b"\x0a" + length


# what stands before the usual sizes, made once
_SHORT = 256
_BODIES = tuple(map(_body_head, range(_SHORT)))


def _times(timestamp: Any, observed: Any) -> bytes:
    if timestamp and observed and 0 < timestamp <= UINT64_MAX and 0 < observed <= UINT64_MAX:
        return _BOTH_TIMES(0x09, timestamp, 0x59, observed)
    found = b"\x09" + fixed64(timestamp) if timestamp else b""
    return found + b"\x59" + fixed64(observed) if observed else found


def _ids(flags: Any, trace_id: Any, span_id: Any) -> bytes:
    return b"".join(
        [
            b"\x45" + fixed32(int(flags)) if flags else b"",
            b"\x4a\x10" + _id(trace_id, 16) if trace_id else b"",
            b"\x52\x08" + _id(span_id, 8) if span_id else b"",
        ]
    )


def _id(number: int, length: int) -> bytes:
    return (number & (1 << 8 * length) - 1).to_bytes(length, "big")
