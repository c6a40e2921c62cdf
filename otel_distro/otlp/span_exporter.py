"""Spans by OTLP, behind upstream's exporter interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_distro.guard import Guard

from ._batch import Encoded, Encoder
from ._export import Export
from .encode_traces import SpanEncoder
from .sender import Sender

if TYPE_CHECKING:
    from .stats import SenderStats


class OtlpSpanExporter(SpanExporter):
    """Encodes finished spans and returns at once; senders deliver them.

    Args:
        encoder: `SpanEncoder`, or `JsonSpanEncoder`.
        senders: where to; each gets the same bytes.
        guard: gets what goes wrong in encoding.
        shutdown_timeout: milliseconds a `shutdown` without a timeout may take.
    """

    def __init__(self, encoder: Encoder, senders: Sequence[Sender], guard: Guard, *, shutdown_timeout: int) -> None:
        self._export = Export(encoder, senders, guard)
        self._shutdown_timeout = shutdown_timeout
        self._encoder = encoder

    def also(self, sender: Sender) -> bool:
        """Give every batch from now on to `sender` as well; False, and nothing, where batches are not protobuf."""
        return self._export.also(sender)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take a batch: SUCCESS means that it is encoded and on its way, FAILURE that it is lost."""
        return SpanExportResult.SUCCESS if self._export(spans) else SpanExportResult.FAILURE

    @property
    def pieces(self) -> SpanEncoder | None:
        """The encoder, if it can encode one span by itself; None for JSON."""
        return self._encoder if isinstance(self._encoder, SpanEncoder) else None

    def hand_over(self, encode: Callable[[], Encoded]) -> bool:
        """Give the senders what `encode` makes."""
        return self._export.hand_over(encode)

    def hand_over_now(self, encode: Callable[[], Encoded]) -> bool:
        """The same in the application's thread: False when a sender is busy, and nothing is written to a disk."""
        return self._export.hand_over_now(encode)

    def feed(self, fetch: Callable[[], object], every: float) -> Callable[[], object]:
        """Have a sender's thread call `fetch` every so many seconds; see `Sender.feed`."""
        return self._export.feed(fetch, every)

    def force_flush(self, timeout_millis: float = 30_000) -> bool:
        """Wait until what was exported so far has been delivered; False if it was not."""
        return self._export.flush(timeout_millis)

    def shutdown(self, timeout_millis: float | None = None) -> None:
        """Deliver, keep or count what waits, within the timeout."""
        self._export.shutdown(self._shutdown_timeout if timeout_millis is None else timeout_millis)

    def stats(self) -> tuple[SenderStats, ...]:
        """What each target got."""
        return self._export.stats
