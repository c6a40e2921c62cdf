"""Log records wait for an exporter in the queues that spans wait in; here is what makes one of the other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_distro import settings
from otel_distro.guard import Guard
from otel_distro.otlp.encode_logs import LogEncoder
from otel_distro.otlp.queue import PieceQueue
from otel_distro.tracing.batch import BatchQueue
from otel_distro.tracing.context import suppressed

from .direct import Direct, Piece
from .exporting import exporting
from .fields import stays
from .records import LeanLogRecord, Translator

if TYPE_CHECKING:
    from otel_distro.otlp.pieces import PieceExporter


class _AsSpanExporter(SpanExporter):
    """A log exporter behind the interface that the queue knows.

    Args:
        exporter: ours or a third party's.
        ours: it reads our records as they are; others get upstream's.
    """

    def __init__(self, exporter: Any, *, ours: bool) -> None:
        self._exporter = exporter
        self._ours = ours

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        records = spans if self._ours else [record.readable() for record in spans]
        return _translated(self._exporter.export(records))

    def force_flush(self, timeout_millis: float = 30_000) -> bool:
        flush = getattr(self._exporter, "force_flush", None)
        return flush is None or flush(timeout_millis) is not False

    def shutdown(self, timeout_millis: float | None = None) -> None:
        from otel_distro.tracing.processors import takes_timeout

        shutdown = self._exporter.shutdown
        if timeout_millis is not None and takes_timeout(shutdown):
            shutdown(timeout_millis=timeout_millis)
        else:
            shutdown()


def _translated(result: Any) -> SpanExportResult:
    return SpanExportResult.FAILURE if getattr(result, "name", None) == "FAILURE" else SpanExportResult.SUCCESS


class LogQueue(BatchQueue):
    """Records until a thread of its own exports them; bounded, never waits, what it drops is counted.

    Args:
        exporter: gets sequences of records.
        batch: `OTEL_BLRP_*`.
        guard: gets what the exporter raises.
        name: of the exporter.
        ours: the exporter reads our records as they are; others get upstream's.
    """

    items = "log records"
    variable = "OTEL_BLRP_MAX_QUEUE_SIZE"

    def __init__(self, exporter: Any, *, batch: settings.Batch, guard: Guard, name: str, ours: bool) -> None:
        slices = 64 if ours else batch.max_export_batch_size
        adapted = _AsSpanExporter(exporter, ours=ours)
        super().__init__(adapted, batch=batch, guard=guard, name=f"logs {name}", slice_size=slices)

    def emit(self, record: LeanLogRecord) -> None:
        """Take a record; takes no lock and never waits."""
        self.on_end(record)  # type: ignore[arg-type]  # the queue asks for `context` alone

    def flush(self, seconds: float) -> bool:
        """Send what waits within `seconds`; False when that was not done."""
        return self.force_flush(int(seconds * 1000))

    def end(self, seconds: float) -> None:
        """Send what waits, and stop, within `seconds`."""
        self.shutdown(seconds * 1000)


class EncodedLogQueue(PieceQueue):
    """Records as bytes until the sender's thread fetches them: the queue of an `OtlpLogExporter` of http/protobuf.

    Attributes:
        encoder: the exporter's.
    """

    items = "log records"
    variable = "OTEL_BLRP_MAX_QUEUE_SIZE"
    emit = PieceQueue.put

    def __init__(self, exporter: PieceExporter, encoder: LogEncoder, *, batch: settings.Batch, guard: Guard) -> None:
        super().__init__(exporter, encoder, batch=batch, guard=guard)
        self.encoder = encoder

    def add(self, piece: Piece) -> None:
        """Take a record that is encoded already; otherwise as `put`."""
        queue = self._queue
        waiting = len(queue)
        if waiting >= self._room and not self._make_room():
            return
        queue.append(piece)
        if waiting >= self._mark:
            self._look()

    def flush(self, seconds: float) -> bool:
        """Send what waits within `seconds`; False when that was not done."""
        return self.force_flush(int(seconds * 1000))

    def end(self, seconds: float) -> None:
        """Send what waits, and stop, within `seconds`."""
        self.shutdown(seconds * 1000)


def for_logs(
    exporter: Any, *, batch: settings.Batch, guard: Guard, name: str, ours: bool
) -> LogQueue | EncodedLogQueue:
    """The queue of `exporter`; arguments as of `LogQueue`."""
    pieces = getattr(exporter, "pieces", None) if ours else None
    if pieces is not None:
        return EncodedLogQueue(exporter, pieces, batch=batch, guard=guard)
    return LogQueue(exporter, batch=batch, guard=guard, name=name, ours=ours)


class Tap:
    """Gives every record of `logging` to the queues.

    Args:
        translator: makes records of `logging` records.
        queues: each gets every record.
        resource: of this process, asked for each record: it changes in a forked child.
    """

    def __init__(self, translator: Translator, queues: Sequence[LogQueue | EncodedLogQueue], resource: Any) -> None:
        self._translate = translator.translate
        self._least = translator.least
        self._emits: tuple[Callable[[LeanLogRecord], object], ...] = tuple(queue.emit for queue in queues)
        self._provider = resource

    def take(self, record: logging.LogRecord, context: Any) -> None:
        """Queue a record, unless it is about sending: of a logger that `stays`, or from an exporter's thread."""
        if record.levelno < self._least or stays(record.name) or (suppressed() and exporting()):
            return
        resource: Resource = self._provider.resource
        made = self._translate(record, context, resource)
        for emit in self._emits:
            emit(made)

    def share(self, emit: Callable[[LeanLogRecord], object]) -> None:
        """Give every record to `emit` as well, from now on."""
        self._emits = (*self._emits, emit)


def tap_of(translator: Translator, queues: Sequence[LogQueue | EncodedLogQueue], provider: Any) -> Tap | Direct:
    """What takes each record of `logging`: the short way where our exporter is the only one and nothing is cut."""
    only = queues[0] if len(queues) == 1 else None
    if isinstance(only, EncodedLogQueue) and translator.is_plain:
        return Direct(translator, only.encoder, only.add, only.emit, provider)
    return Tap(translator, queues, provider)


__all__ = ["EncodedLogQueue", "LogQueue", "Tap", "for_logs", "tap_of"]
