"""Log records by OTLP, behind upstream's exporter interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

# upstream's logs are public under a name that says "experimental"; there is no other way to them
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult

from otel_distro.guard import Guard

from ._batch import Encoded, Encoder
from ._export import Export
from .encode_logs import LogEncoder
from .sender import Sender

if TYPE_CHECKING:
    from .stats import SenderStats


class OtlpLogExporter(LogRecordExporter):
    """Encodes log records and returns at once; senders deliver them.

    Args:
        encoder: `LogEncoder`, or `JsonLogEncoder`.
        senders: where to; each gets the same bytes.
        guard: gets what goes wrong in encoding.
        shutdown_timeout: milliseconds a `shutdown` without a timeout may take.
    """

    def __init__(self, encoder: Encoder, senders: Sequence[Sender], guard: Guard, *, shutdown_timeout: int) -> None:
        self._export = Export(encoder, senders, guard)
        self._encoder = encoder
        self._shutdown_timeout = shutdown_timeout

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Take a batch: SUCCESS means that it is encoded and on its way, FAILURE that it is lost."""
        return LogRecordExportResult.SUCCESS if self._export(batch) else LogRecordExportResult.FAILURE

    @property
    def pieces(self) -> LogEncoder | None:
        """The encoder, if it can encode one record by itself; None for JSON."""
        return self._encoder if isinstance(self._encoder, LogEncoder) else None

    def hand_over(self, encode: Callable[[], Encoded]) -> bool:
        """Give the senders what `encode` makes."""
        return self._export.hand_over(encode)

    def hand_over_now(self, encode: Callable[[], Encoded]) -> bool:
        """The same in the application's thread: False when a sender is busy, and nothing is written to a disk."""
        return self._export.hand_over_now(encode)

    def feed(self, fetch: Callable[[], object], every: float) -> Callable[[], object]:
        """Have a sender's thread call `fetch` every so many seconds; see `Sender.feed`."""
        return self._export.feed(fetch, every)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Wait until what was exported so far has been delivered; False if it was not."""
        return self._export.flush(timeout_millis)

    def shutdown(self, timeout_millis: float | None = None) -> None:
        """Deliver, keep or count what waits, within the timeout."""
        self._export.shutdown(self._shutdown_timeout if timeout_millis is None else timeout_millis)

    def stats(self) -> tuple[SenderStats, ...]:
        """What each target got."""
        return self._export.stats
