"""Base-2 exponential histograms in cells that cannot tear.

Layout: `[active]` and two banks of `[scale, zeros, sum, low+, high+, low-, high-, spare, positive..., negative...]`,
each side `max_size` cells. Bucket `index` lies in cell `index % max_size`, so a sliding window moves no data; `low` and
`high` are written before the count. A change of scale fills the other bank and then sets `active`, one cell:
a reader, or what is left after kill -9, has either the old bank or the new one.
Source: OpenTelemetry specification, "Base2 Exponential Bucket Histogram Aggregation".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor, frexp, ldexp, log
from sys import float_info
from threading import RLock
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import Span

from otel_distro.records import dataclass

from .cells import Block
from .exemplars import Reservoir
from .series import LARGEST, NOTHING, Distribution, plain

if TYPE_CHECKING:
    from .stream import Stream

_HEAD: Final = 8
_SCALE, _ZEROS, _SUM, _LOW, _HIGH = 0, 1, 2, (3, 5), (4, 6)
MIN_SCALE: Final = -10
_MAX_SCALE: Final = 20
_FARTHEST: Final = 1 << 31  # buckets from 1 to the smallest float, at the finest scale
_SMALLEST = float_info.min


def bank_size(max_size: int) -> int:
    """Cells of one bank."""
    return _HEAD + 2 * max_size


def size(max_size: int) -> int:
    """Cells of one series."""
    return 1 + 2 * bank_size(max_size)


def bucket_index(value: float, scale: int) -> int:
    """The bucket of a positive value: `base**index < value <= base**(index + 1)` with `base = 2**(2**-scale)`."""
    fraction, exponent = frexp(max(value, _SMALLEST))
    exponent -= 1  # value = m * 2**exponent with 1 <= m < 2
    power = fraction == 0.5
    if scale <= 0:
        return (exponent - power) >> -scale
    if power:
        return (exponent << scale) - 1
    return min(floor(log(value) * ldexp(1 / log(2), scale)), (1024 << scale) - 1)


@dataclass(frozen=True, slots=True)
class Buckets:
    """Counts of one side, from `offset` on; no counts when the side is empty."""

    offset: int = 0
    counts: tuple[int, ...] = ()

    def at_scale(self, shift: int) -> Buckets:
        """The same counts in buckets `2**shift` times as wide."""
        if not shift or not self.counts:
            return self
        low = self.offset >> shift
        merged = [0] * (((self.offset + len(self.counts) - 1) >> shift) - low + 1)
        for i, count in enumerate(self.counts):
            merged[((self.offset + i) >> shift) - low] += count
        return Buckets(low, tuple(merged))

    def plus(self, other: Buckets, sign: int = 1) -> Buckets:
        """The sum of both (`sign` -1: the difference), trimmed of empty ends."""
        sides = [b for b in (self, other) if b.counts]
        if not sides:
            return self
        low = min(b.offset for b in sides)
        total = [0] * (max(b.offset + len(b.counts) for b in sides) - low)
        for part, factor in ((self, 1), (other, sign)):
            for i, count in enumerate(part.counts):
                total[part.offset + i - low] += factor * count
        filled = [i for i, count in enumerate(total) if count]
        return Buckets(low + filled[0], tuple(total[filled[0] : filled[-1] + 1])) if filled else Buckets()


@dataclass(frozen=True, slots=True)
class ExponentialValue:
    """What one series has counted."""

    scale: int
    zeros: int
    sum: float
    positive: Buckets
    negative: Buckets

    @property
    def count(self) -> int:
        """All measurements."""
        return self.zeros + sum(self.positive.counts) + sum(self.negative.counts)

    def combined(self, other: ExponentialValue, max_size: int, sign: int = 1) -> ExponentialValue:
        """Both together (`sign` -1: without `other`), at a scale where each side fits into `max_size` buckets."""
        scale = min(self.scale, other.scale)
        # the width is looked at first: two far buckets at a fine scale are billions of buckets apart
        while (
            scale > MIN_SCALE and max(self._width(other, side, scale) for side in ("positive", "negative")) > max_size
        ):
            scale -= 1
        mine, its = self.scale - scale, other.scale - scale
        positive = self.positive.at_scale(mine).plus(other.positive.at_scale(its), sign)
        negative = self.negative.at_scale(mine).plus(other.negative.at_scale(its), sign)
        total = self.sum + sign * other.sum
        return ExponentialValue(scale, self.zeros + sign * other.zeros, total, positive, negative)

    def _width(self, other: ExponentialValue, side: str, scale: int) -> int:
        """How many buckets of `scale` one side of both spans."""
        ends: list[int] = []
        for value in (self, other):
            buckets: Buckets = getattr(value, side)
            if buckets.counts:
                shift = value.scale - scale
                ends += (buckets.offset >> shift, (buckets.offset + len(buckets.counts) - 1) >> shift)
        return max(ends) - min(ends) + 1 if ends else 0


_NOTHING_COUNTED: Final = ExponentialValue(0, 0, 0.0, Buckets(), Buckets())


def decode(cells: Sequence[float], at: int, max_size: int) -> ExponentialValue:
    """Read a series' cells, its own or a copy of another process's.

    Args:
        cells: that hold the series.
        at: its first cell.
        max_size: buckets a side.

    Returns:
        What is there; nothing where that is no histogram.
    """
    try:
        found = _decoded(cells, at, max_size)
    except (ValueError, OverflowError, IndexError):
        return _NOTHING_COUNTED
    # another process's file may hold anything: two scales are brought together step by step, and buckets fill a list
    near = all(abs(side.offset) <= _FARTHEST for side in (found.positive, found.negative))
    return found if near and MIN_SCALE <= found.scale <= _MAX_SCALE else _NOTHING_COUNTED


def _decoded(cells: Sequence[float], at: int, max_size: int) -> ExponentialValue:
    bank = at + 1 + int(cells[at]) * bank_size(max_size)
    sides = []
    for side in (0, 1):
        low, high = int(cells[bank + _LOW[side]]), int(cells[bank + _HIGH[side]])
        first = bank + _HEAD + side * max_size
        counts = tuple(int(cells[first + i % max_size]) for i in range(low, min(high, low + max_size - 1) + 1))
        sides.append(Buckets().plus(Buckets(low, counts)))
    return ExponentialValue(
        int(cells[bank + _SCALE]), int(cells[bank + _ZEROS]), cells[bank + _SUM], sides[0], sides[1]
    )


def encode(value: ExponentialValue, max_size: int) -> list[float]:
    """A value as the cells of a series; each side of it fits into `max_size` buckets."""
    cells = [0.0] * size(max_size)
    cells[1 + _SCALE], cells[1 + _ZEROS], cells[1 + _SUM] = float(value.scale), float(value.zeros), value.sum
    for side, buckets in ((0, value.positive), (1, value.negative)):
        if buckets.counts:
            cells[1 + _LOW[side]] = float(buckets.offset)
            cells[1 + _HIGH[side]] = float(buckets.offset + len(buckets.counts) - 1)
            for i, count in enumerate(buckets.counts):
                cells[1 + _HEAD + side * max_size + (buckets.offset + i) % max_size] = float(count)
    return cells


class ExponentialSeries(Distribution):
    """A base-2 exponential histogram.

    Args:
        max_size: buckets a side.
        max_scale: the scale to begin with.
    """

    __slots__ = ("_bank", "_lock", "_max_scale", "_max_size", "_scale", "_windows")

    def __init__(
        self, stream: Stream, attributes: Mapping[str, Any], low: float, max_size: int, max_scale: int
    ) -> None:
        super().__init__(stream, attributes, low)
        self._max_size = max_size
        self._max_scale = max_scale

    def bind(self, block: Block, started: int, reservoir: Reservoir | None) -> None:
        """See `Series.bind`."""
        super().bind(block, started, reservoir)
        self._lock = RLock()
        self._scale = self._max_scale
        self._bank = self._at + 1
        self._cells[self._bank + _SCALE] = self._scale
        self._windows: list[tuple[int, int] | None] = [None, None]

    def measure(
        self,
        value: float,
        span: Span | None = None,
        dropped: Mapping[str, Any] = NOTHING,
        moment: float | None = None,
    ) -> None:
        """See `Series.measure`; a lock of the series guards the window of buckets."""
        if value.__class__ is not float and value.__class__ is not int:
            value = plain(value)
        if not self._low <= value <= LARGEST:
            self.stream.refused(value)
            return
        with self._lock:
            self._count(value)
            self.minimum = min(self.minimum, value)
            self.maximum = max(self.maximum, value)
        reservoir = self._reservoir
        if (
            reservoir is not None
            and (span is not None or reservoir.always)
            and (moment or perf_counter()) >= reservoir.due[0]
        ):
            reservoir.offer(0, value, span, dropped, moment)
        for other in self.also:
            other.measure(value, span, dropped, moment)

    add = record = set = measure

    def value(self) -> ExponentialValue:
        """What has been counted so far; its buckets agree with its scale."""
        with self._lock:
            return decode(self._cells, self._at, self._max_size)

    def _count(self, value: float) -> None:
        cells = self._cells
        if value == 0:
            cells[self._bank + _ZEROS] += 1.0
            return
        side = 0 if value > 0 else 1
        magnitude = abs(value)
        index = bucket_index(magnitude, self._scale)
        shift = self._shift(side, index)
        if shift:
            self._rescale(shift)
            index = bucket_index(magnitude, self._scale)
        self._widen(side, index)
        at = self._bank + _HEAD + side * self._max_size + index % self._max_size
        cells[self._bank + _SUM] += value
        cells[at] += 1.0

    def _shift(self, side: int, index: int) -> int:
        """How many scales to give up until `index` fits into the window."""
        window = self._windows[side]
        low, high = (index, index) if window is None else (min(window[0], index), max(window[1], index))
        shift = 0
        while high - low >= self._max_size and self._scale - shift > MIN_SCALE:
            low >>= 1
            high >>= 1
            shift += 1
        return shift

    def _widen(self, side: int, index: int) -> None:
        window = self._windows[side]
        low, high = (index, index) if window is None else (min(window[0], index), max(window[1], index))
        if window != (low, high):
            self._windows[side] = (low, high)
            self._cells[self._bank + _LOW[side]] = low
            self._cells[self._bank + _HIGH[side]] = high

    def _rescale(self, shift: int) -> None:
        """Fill the other bank with what is counted, in wider buckets, then make it the active one."""
        now = decode(self._cells, self._at, self._max_size)
        cells, width = self._cells, bank_size(self._max_size)
        active = 1 - int(cells[self._at])
        bank = self._at + 1 + active * width
        cells[bank : bank + width] = memoryview(bytes(8 * width)).cast("d")
        cells[bank + _SCALE], cells[bank + _ZEROS], cells[bank + _SUM] = self._scale - shift, now.zeros, now.sum
        for side, buckets in ((0, now.positive.at_scale(shift)), (1, now.negative.at_scale(shift))):
            low, high = buckets.offset, buckets.offset + len(buckets.counts) - 1
            self._windows[side] = (low, high) if buckets.counts else None
            if buckets.counts:
                cells[bank + _LOW[side]], cells[bank + _HIGH[side]] = low, high
                for i, count in enumerate(buckets.counts):
                    cells[bank + _HEAD + side * self._max_size + (low + i) % self._max_size] = count
        cells[self._at] = active
        self._scale -= shift
        self._bank = bank
