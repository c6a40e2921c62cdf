"""Spans by OTLP, behind upstream's exporter interface."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from ._export import Delivering
from .encode_traces import SpanEncoder


class OtlpSpanExporter(Delivering, SpanExporter):
    """Encodes finished spans and returns at once; a sender delivers them.

    Args:
        encoder: `SpanEncoder`, or `JsonSpanEncoder`.
        sender: where to.
        guard: gets what goes wrong in encoding.
        shutdown_timeout: milliseconds a `shutdown` without a timeout may take.
    """

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take a batch: SUCCESS means that it is encoded and on its way, FAILURE that it is lost."""
        return SpanExportResult.SUCCESS if self._export(spans) else SpanExportResult.FAILURE

    @property
    def pieces(self) -> SpanEncoder | None:
        """The encoder, if it can encode one span by itself; None for JSON."""
        return self._encoder if isinstance(self._encoder, SpanEncoder) else None

    def force_flush(self, timeout_millis: float = 30_000) -> bool:
        """Wait until what was exported so far has been delivered; False if it was not."""
        return self._export.flush(timeout_millis)
