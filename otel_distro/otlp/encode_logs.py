"""Log records as an OTLP `ExportLogsServiceRequest`, without protobuf objects (logs.proto)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ._batch import CHUNK, PROTOBUF, Encoded
from ._groups import Envelopes, Groups
from ._values import KeyValues, any_value
from ._wire import count_field, delimited, fixed32, fixed64, text_field, varint


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

    def encode(self, data: Sequence[Any], breathe: Callable[[], object] | None = None) -> Encoded:
        """Encode `data` as one request, grouped by resource and scope; `breathe` is called after every 64 records."""
        groups = Groups(self._envelopes)
        lost = 0
        for number, readable in enumerate(data, 1):
            try:
                encoded = delimited(b"\x12", self._record(readable))
            except Exception:  # noqa: BLE001 - not even a log record
                lost += 1
                continue
            groups.items(readable.resource, readable.instrumentation_scope).append(encoded)
            if not number % CHUNK and breathe is not None and number < len(data):
                breathe()
        return Encoded(groups.body(), len(data) - lost, lost)

    def _record(self, readable: Any) -> bytes:
        record = readable.log_record
        parts = [
            b"\x09" + fixed64(record.timestamp) if record.timestamp else b"",
            b"\x59" + fixed64(record.observed_timestamp) if record.observed_timestamp else b"",
            _severity(record.severity_number),
            text_field(b"\x1a", record.severity_text),
            delimited(b"\x2a", any_value(record.body)),
            self._attributes.encoded(record.attributes),
            count_field(b"\x38", readable.dropped_attributes),
            b"\x45" + fixed32(int(record.trace_flags)) if record.trace_flags else b"",
            b"\x4a\x10" + _id(record.trace_id, 16) if record.trace_id else b"",
            b"\x52\x08" + _id(record.span_id, 8) if record.span_id else b"",
            text_field(b"\x62", record.event_name),
        ]
        return b"".join(parts)


def _id(number: int, length: int) -> bytes:
    return (number & (1 << 8 * length) - 1).to_bytes(length, "big")


def _severity(severity: Any) -> bytes:
    number = getattr(severity, "value", None)
    return b"\x10" + varint(number) if isinstance(number, int) and number > 0 else b""
