"""Batches for upstream's exporter by gRPC, none larger than what its servers take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

MOST_BYTES = 3_000_000
"""Of spans in one request; servers of gRPC refuse messages of more than 4 MiB unless they are told otherwise."""
_OF_ITSELF = 256
"""What a span, an event or a link takes without its attributes, at most; names are short."""
_OF_A_VALUE = 16

Export = Callable[[Sequence[ReadableSpan]], SpanExportResult]


def in_parts(export: Export) -> Export:
    """Give `export` no more spans at once than fit into a request.

    Upstream sends a request that is refused for its size again and again until its time is over, while everything
    behind it is dropped.
    """

    def export_parts(spans: Sequence[ReadableSpan]) -> SpanExportResult:
        results = [export(part) for part in _parts(spans)]
        return SpanExportResult.FAILURE if SpanExportResult.FAILURE in results else SpanExportResult.SUCCESS

    return export_parts


def _parts(spans: Sequence[ReadableSpan]) -> Iterator[Sequence[ReadableSpan]]:
    start, total = 0, 0
    for place, span in enumerate(spans):
        size = _size(span)
        if total + size > MOST_BYTES and place > start:
            yield spans[start:place]
            start, total = place, 0
        total += size
    yield spans[start:]


def _size(span: ReadableSpan) -> int:
    """About how many bytes a span takes; encoding it to know would double what its export costs."""
    described = [
        span.attributes,
        *[event.attributes for event in span.events],
        *[link.attributes for link in span.links],
    ]
    return sum(_OF_ITSELF + _size_of(attributes or {}) for attributes in described)


def _size_of(attributes: Mapping[str, Any]) -> int:
    return sum(len(key) + _OF_A_VALUE + _length(value) for key, value in attributes.items())


def _length(value: Any) -> int:
    if isinstance(value, str):
        # a letter has up to four bytes
        return len(value) if value.isascii() else 4 * len(value)
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, Mapping):
        return _size_of(value)
    return sum(_OF_A_VALUE + _length(one) for one in value) if isinstance(value, Sequence) else 0


__all__ = ["MOST_BYTES", "in_parts"]
