"""Exemplars: one measurement per series (per bucket in a histogram) that leads to its trace.

The reservoir keeps the first eligible measurement of each second, so that a busy series pays for one a second and a
quiet one always shows its last.
Source: OpenTelemetry specification, "Metrics SDK", ExemplarFilter and ExemplarReservoir.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from time import perf_counter, time_ns
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, Span, SpanContext, TraceFlags

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import Exemplar

SLOT: Final = 48  # bytes: crc32 of the rest as 8 bytes, value, seconds, trace id in two halves, span id
_BODY = struct.Struct("<ddQQQ")
_CHECK = struct.Struct("<Q")
_HALF = (1 << 64) - 1
_EVERY = 1.0  # seconds


class Kept(NamedTuple):
    """The fields of upstream's `Exemplar`, in their order, which is made where somebody collects."""

    filtered_attributes: Mapping[str, Any] | None
    value: float
    time_unix_nano: int
    span_id: int | None
    trace_id: int | None


class Reservoir:
    """The exemplars of one series.

    Args:
        slots: one, or one a bucket.
        always: any measurement may become an exemplar, not only those of a sampled span.
        region: the published copy, read by other processes; None where there is none.
        start: the first byte of the published copy.
    """

    __slots__ = ("_region", "_start", "always", "due", "kept")

    def __init__(self, slots: int, *, always: bool, region: memoryview | None, start: int) -> None:
        self.always = always
        self.due = [0.0] * slots
        self.kept: list[Kept | None] = [None] * slots
        self._region = region
        self._start = start

    def offer(
        self,
        slot: int,
        value: float,
        span: Span | None,
        dropped: Mapping[str, Any] | None,
        moment: float | None = None,
    ) -> None:
        """Keep `value` in `slot` when its span is sampled (or `always`).

        Args:
            slot: 0, or the bucket.
            value: the measurement.
            span: current when it was made, None for none.
            dropped: attributes of the measurement that the view took away.
            moment: when it was made, by `time.perf_counter`; None for now.
        """
        trace_id = span_id = None
        if span is not None and span is not INVALID_SPAN:
            context = span.get_span_context()
            if context.is_valid:
                trace_id, span_id = context.trace_id, context.span_id
            if not self.always and not context.trace_flags & 1:
                return
        elif not self.always:
            return
        now, clock = time_ns(), perf_counter()
        if moment is not None:
            now -= int((clock - moment) * 1e9)
        self.due[slot] = (clock if moment is None else moment) + _EVERY
        self.kept[slot] = Kept(dropped, value, now, span_id, trace_id)
        if self._region is not None:
            at = self._start + slot * SLOT
            self._region[at : at + SLOT] = pack(value, now / 1e9, trace_id or 0, span_id or 0)

    def since(self, after: int) -> list[Exemplar]:
        """Exemplars younger than `after` (ns since the epoch), by slot."""
        young = [kept for kept in self.kept if kept is not None and kept.time_unix_nano > after]
        if not young:
            return []
        from opentelemetry.sdk.metrics import Exemplar  # late: only who collects needs the SDK

        return [Exemplar(*each) for each in young]


def sampled(trace_id: int, span_id: int) -> Span:
    """A sampled span of these ids, for exemplars of spans that are no objects."""
    return NonRecordingSpan(SpanContext(trace_id, span_id, False, TraceFlags(TraceFlags.SAMPLED)))


def pack(value: float, seconds: float, trace_id: int, span_id: int) -> bytes:
    """An exemplar as `SLOT` bytes; the check sum makes a torn one recognisable on every machine."""
    body = _BODY.pack(value, seconds, trace_id >> 64, trace_id & _HALF, span_id)
    return _CHECK.pack(zlib.crc32(body)) + body


def unpack(slot: bytes | memoryview) -> tuple[float, float, int, int] | None:
    """`(value, seconds, trace_id, span_id)`, or None for an empty or torn slot."""
    body = bytes(slot[8:SLOT])
    if len(body) != _BODY.size or _CHECK.unpack(slot[:8])[0] != zlib.crc32(body):
        return None
    value, seconds, high, low, span_id = _BODY.unpack(body)
    return (value, seconds, (high << 64) | low, span_id) if seconds else None
