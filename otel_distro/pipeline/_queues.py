"""Which queue serves an exporter of spans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_distro import settings
from otel_distro.guard import Guard
from otel_distro.otlp.queue import SpanQueue

if TYPE_CHECKING:
    from otel_distro.tracing.batch import BatchQueue

_SLICE = 64
"""Spans encoded at a stretch: under a millisecond, so that an event loop hardly notices."""


def for_spans(exporter: Any, *, batch: settings.Batch, guard: Guard, name: str, ours: bool) -> SpanQueue | BatchQueue:
    """The queue of `exporter`.

    Args:
        exporter: a `SpanExporter`; ours of http/protobuf takes spans as bytes.
        batch: how many wait, and how long.
        guard: gets what goes wrong.
        name: the exporter's, for the guard's lines.
        ours: whether it may be given small slices; others get the batches they were promised.
    """
    pieces = getattr(exporter, "pieces", None) if ours else None
    if pieces is not None:
        return SpanQueue(exporter, pieces, batch=batch, guard=guard)
    # only for who takes no bytes
    from otel_distro.tracing.batch import BatchQueue

    slices = _SLICE if ours else batch.max_export_batch_size
    return BatchQueue(exporter, batch=batch, guard=guard, name=name, slice_size=slices)
