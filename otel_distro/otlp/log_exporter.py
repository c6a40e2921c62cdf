"""Log records by OTLP, behind upstream's exporter interface."""

from __future__ import annotations

from collections.abc import Sequence

# upstream's logs are public under a name that says "experimental"; there is no other way to them
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult

from ._export import Delivering
from .encode_logs import LogEncoder


class OtlpLogExporter(Delivering, LogRecordExporter):
    """Encodes log records and returns at once; a sender delivers them.

    Args:
        encoder: `LogEncoder`, or `JsonLogEncoder`.
        sender: where to.
        guard: gets what goes wrong in encoding.
        shutdown_timeout: milliseconds a `shutdown` without a timeout may take.
    """

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Take a batch: SUCCESS means that it is encoded and on its way, FAILURE that it is lost."""
        return LogRecordExportResult.SUCCESS if self._export(batch) else LogRecordExportResult.FAILURE

    @property
    def pieces(self) -> LogEncoder | None:
        """The encoder, if it can encode one record by itself; None for JSON."""
        return self._encoder if isinstance(self._encoder, LogEncoder) else None

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Wait until what was exported so far has been delivered; False if it was not."""
        return self._export.flush(timeout_millis)
